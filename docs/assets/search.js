// a hyphen in front of a word means "without" to the search: options are searched by their names
const typed = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value")
for (const input of document.querySelectorAll(".md-search__input")) {
  Object.defineProperty(input, "value", {
    get() { return typed.get.call(this).replace(/(^|\s)-+(?=\S)/g, "$1") },
    set(text) { typed.set.call(this, text) },
  })
}
