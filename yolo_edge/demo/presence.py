"""Whether something is there: detections come and go from frame to frame, lamps should not."""

from dataclasses import dataclass


@dataclass
class Presence:
    """Hysteresis over frames, for one class.

    Attributes:
        on_after: It is there once it was seen in so many frames in a row.
        off_after: It is gone once it was missing in so many frames in a row.
        there: Whether it is.
    """

    on_after: int
    off_after: int
    there: bool = False
    _against: int = 0  # frames in a row that speak against `there`

    def update(self, seen: bool) -> bool:
        """Take in one frame.

        Returns:
            Whether `there` changed.
        """
        if seen == self.there:
            self._against = 0
            return False
        self._against += 1
        if self._against < (self.off_after if self.there else self.on_after):
            return False
        self.there, self._against = seen, 0
        return True

    def forget(self) -> bool:
        """Nothing is known any more, so nothing is there.

        Returns:
            Whether `there` changed.
        """
        changed, self.there, self._against = self.there, False, 0
        return changed
