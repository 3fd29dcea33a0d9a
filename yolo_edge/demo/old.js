// For browsers without modules: pictures with the boxes in them.
var picture = document.createElement("img");
picture.className = "old";
picture.alt = "The live picture with boxes";
picture.src = "stream.mjpeg";
document.addEventListener("DOMContentLoaded", function () {
  document.body.innerHTML = "";
  document.body.appendChild(picture);
});
