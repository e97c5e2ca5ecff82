"""What a conversion found: videos, frames and boxes per class."""

from collections import Counter

from rich.console import Console
from rich.table import Table


class Summary:
    """Counts boxes as they come, in image order, and prints a table. Classes may stay empty."""

    def __init__(self, names: list[str]):
        self.names = names  # of category ids 1, 2, ...
        self.videos, self.frames, self.boxes = Counter(), Counter(), Counter()
        self.num_videos = self.num_frames = self.num_flat = 0
        self._last_video: dict[int, int] = {}
        self._last_image: dict[int, int] = {}

    def add_frames(self, count: int, videos: int) -> None:
        self.num_frames += count
        self.num_videos += videos

    def add_box(self, video: int, image: int, category: int, has_area: bool) -> None:
        """`video` is 0 outside videos. Ids of one class must not decrease from call to call."""
        self.boxes[category] += 1
        self.num_flat += not has_area
        if self._last_image.get(category) != image:
            self._last_image[category] = image
            self.frames[category] += 1
        if video and self._last_video.get(category) != video:
            self._last_video[category] = video
            self.videos[category] += 1

    def rows(self) -> list[tuple[str, int, int, int]]:
        """(class, videos, frames, boxes) for each class that has boxes, then the totals."""
        rows = [
            (name, self.videos[i], self.frames[i], self.boxes[i])
            for i, name in enumerate(self.names, 1)
            if self.boxes[i]
        ]
        return rows + [('total', self.num_videos, self.num_frames, self.boxes.total())]

    def print(self, console: Console) -> None:
        table = Table('class')
        columns = ('videos', 'frames', 'boxes') if self.num_videos else ('images', 'boxes')
        for column in columns:
            table.add_column(column, justify='right')
        *classes, total = [(name, *counts[-len(columns) :]) for name, *counts in self.rows()]
        for row in classes:
            table.add_row(*map(_text, row))
        table.add_section()
        table.add_row(*map(_text, total))
        console.print(table)
        empty = [name for i, name in enumerate(self.names, 1) if not self.boxes[i]]
        if empty:
            console.print(f'Classes without objects: {", ".join(empty)}', soft_wrap=True)
        if self.num_flat:
            console.print(f'Boxes without area: {self.num_flat} (kept here, dropped on loading)')


def _text(value: str | int) -> str:
    return value if isinstance(value, str) else f'{value:,}'
