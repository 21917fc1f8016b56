"""The pictures of the explanation pages, drawn as inline SVG: `{diagram} name`, with the caption as its content.

A picture is 360 units wide, as a phone is, and takes its colours from the theme, so that it is legible in both modes.
Its `title` and `desc` tell who cannot see it what it shows.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any, ClassVar, Final

from docutils import nodes
from docutils.parsers.rst import Directive

WIDTH: Final = 360
_LINE: Final = 14  # from one line of text to the next
_WIDE: Final = 6.7  # how wide a character of a box's text is, at most, on average


class Drawing:
    """A picture that is being drawn.

    Args:
        height: How high it is; it is `WIDTH` wide.
        title: What it shows, in a few words.
        description: What somebody should know who does not see it.
    """

    def __init__(self, height: int, title: str, description: str) -> None:
        self.height = height
        self.title = title
        self.description = description
        self._parts: list[str] = []

    def box(self, x: float, y: float, width: float, text: str, kind: str = "plain", *, height: float = 0) -> None:
        """Draw a box with lines of text in its middle."""
        lines = text.split("\n")
        height = height or _LINE * len(lines) + 12
        if max(map(len, lines)) * _WIDE > width or y + height > self.height or x + width > WIDTH:
            raise ValueError(f"{self.title}: {text!r} does not fit")
        self._parts.append(f'<g class="box {kind}">')
        self._parts.append(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4"/>')
        first = y + height / 2 - _LINE * (len(lines) - 1) / 2 + 4
        self._lines(x + width / 2, first, lines, "middle", "")
        self._parts.append("</g>")

    def text(self, x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> None:
        """Write lines of text; *y* is the first one's base line."""
        self._lines(x, y, text.split("\n"), anchor, kind)

    def arrow(self, *points: tuple[float, float], kind: str = "") -> None:
        """Draw a line through some points, with a head at the last."""
        self.line(*points, kind=f"arrow {kind}")
        (before_x, before_y), (x, y) = points[-2:]
        along_x, along_y = (x > before_x) - (x < before_x), (y > before_y) - (y < before_y)
        head = [
            (x, y),
            (x - 7 * along_x - 3.5 * along_y, y - 7 * along_y - 3.5 * along_x),
            (x - 7 * along_x + 3.5 * along_y, y - 7 * along_y + 3.5 * along_x),
        ]
        self._parts.append(f'<polygon class="head {kind}" points="{_points(head)}"/>')

    def line(self, *points: tuple[float, float], kind: str = "") -> None:
        """Draw a line through some points."""
        self._parts.append(f'<polyline class="{kind}" points="{_points(points)}"/>')

    def bar(self, x: float, y: float, width: float, kind: str, *, height: float = 18) -> None:
        """Draw a span of time, or a field behind what is drawn next."""
        self._parts.append(
            f'<rect class="bar {kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="2"/>'
        )

    def _lines(self, x: float, y: float, lines: list[str], anchor: str, kind: str) -> None:
        for number, line in enumerate(lines):
            self._parts.append(
                f'<text class="{kind}" x="{x:g}" y="{y + _LINE * number:g}" text-anchor="{anchor}">'
                f"{escape(line)}</text>"
            )

    def to_svg(self, name: str) -> str:
        """Return it as an element of a page; *name* is unique there."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" role="img" '
            f'aria-labelledby="{name}-title {name}-desc">'
            f'<title id="{name}-title">{escape(self.title)}</title>'
            f'<desc id="{name}-desc">{escape(self.description)}</desc>{"".join(self._parts)}</svg>'
        )


def _points(points: Any) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def four_outcomes() -> Drawing:
    """How an attempt is sorted into one of four outcomes."""
    picture = Drawing(
        356,
        "The four outcomes of an attempt",
        "An attempt that did not leave this machine is not sent. One without an answer that can be read is unknown. "
        "One with an answer is succeeded if that holds a result, refused if it says that nothing was done, and unknown "
        "if something failed inside. Not sent: nothing was done, sent again. Refused: nothing was done, raised, or "
        "sent again if it was for the moment. Unknown: it may have been done; reads and deletes are sent again, "
        "creates and updates are looked into first.",
    )
    picture.box(8, 4, 170, "an attempt", "start")
    picture.arrow((93, 30), (93, 48))
    picture.box(8, 48, 170, "Did the request leave?")
    picture.arrow((178, 61), (318, 61), (318, 222))
    picture.text(186, 56, "no")
    picture.arrow((93, 74), (93, 100))
    picture.text(99, 91, "yes")
    picture.box(8, 100, 170, "Can the answer be read?")
    picture.arrow((178, 113), (242, 113), (242, 222))
    picture.text(186, 108, "no, or none")
    picture.arrow((93, 126), (93, 152))
    picture.text(99, 143, "yes")
    picture.box(8, 152, 170, "What does it say?")
    picture.arrow((178, 165), (218, 165), (218, 222))
    picture.text(182, 200, "failed\ninside", kind="small", anchor="start")
    picture.arrow((46, 178), (46, 222))
    picture.text(40, 200, "a\nresult", "end", "small")
    picture.arrow((134, 178), (134, 222))
    picture.text(128, 200, "nothing\nwas done", "end", "small")
    outcomes = [
        (4, "succeeded", "good", "You have\nthe result."),
        (94, "refused", "bad", "Nothing was\ndone: raised.\nSent again,\nif it was\nfor the\nmoment."),
        (
            186,
            "unknown",
            "doubt",
            "It may be\ndone. Reads\nand deletes:\nsent again.\nCreates and\nupdates:\nlooked into.",
        ),
        (278, "not sent", "bad", "Nothing was\ndone: sent\nagain."),
    ]
    for x, name, kind, told in outcomes:
        picture.box(x, 222, 80, name, kind)
        picture.text(x + 40, 266, told, "middle", "small")
    return picture


def one_refresh() -> Drawing:
    """Who does what in a refresh, and where a crash may fall."""
    picture = Drawing(
        362,
        "A refresh, step by step",
        "Many callers need a token. The provider takes the store's lock and reads the grant again, notes in the store "
        "that a refresh begins, and sends refresh token 1 to Kraken. Kraken answers with pair 2, and pair 1 is dead. "
        "The provider saves pair 2, frees the lock, and gives access token 2 to all callers. A process that dies "
        "between the note and the save leaves the note for the next one to find.",
    )
    callers, provider, store, kraken = 34, 138, 240, 322
    picture.bar(150, 132, 206, "doubt", height=152)
    for x, name in ((callers, "callers"), (provider, "provider"), (store, "store"), (kraken, "Kraken")):
        picture.line((x, 30), (x, 352), kind="life")
        picture.box(x - 33, 4, 66, name, "start")
    steps = [
        (56, callers, provider, "need a token"),
        (84, provider, store, "lock, re-read"),
        (120, provider, store, "note: it begins"),
        (160, provider, kraken, "refresh token 1"),
        (204, kraken, provider, "pair 2; pair 1 is dead"),
        (272, provider, store, "save pair 2"),
        (306, provider, store, "unlock"),
        (338, provider, callers, "token 2, to all"),
    ]
    for y, start, end, told in steps:
        inset = 2 if end > start else -2
        picture.arrow((start + inset, y), (end - inset, y))
        picture.text((start + end) / 2, y - 5, told, "middle", "small")
    picture.text(246, 230, "killed here:\nthe next one\nfinds the note", "start", "small told")
    return picture


def rotation() -> Drawing:
    """How a pair of tokens ends when the next one begins."""
    picture = Drawing(
        170,
        "Rotation: each refresh ends the pair before",
        "Access token 1 would last for 4 or 24 hours, and refresh token 1 for 30 days. At the refresh both end at "
        "once, and access token 2 and refresh token 2 begin, until the next refresh.",
    )
    rows = [(26, "access 1"), (50, "refresh 1"), (86, "access 2"), (110, "refresh 2")]
    for y, name in rows:
        picture.text(0, y + 13, name, kind="small")
    for y, left in ((26, 190), (50, 300)):
        picture.bar(64, y, 96, "good")
        picture.bar(160, y, left - 160, "unused")
    for y, end in ((86, 290), (110, 352)):
        picture.bar(160, y, 96, "good")
        picture.bar(256, y, end - 256, "unused")
    for x, name in ((160, "refresh"), (256, "refresh")):
        picture.line((x, 18), (x, 136), kind="dashed")
        picture.text(x, 12, name, "middle", "small")
    picture.bar(64, 148, 14, "good", height=12)
    picture.text(84, 158, "is taken", kind="small")
    picture.bar(150, 148, 14, "unused", height=12)
    picture.text(170, 158, "is refused, though not expired", kind="small")
    return picture


def lease_keys() -> Drawing:
    """How a lease's keys follow each other."""
    picture = Drawing(
        196,
        "The keys of a lease overlap",
        "Key 1 is made on entry. When renew_before is left of its life, key 2 is made, stored and handed over; key 1 "
        "lives on for grace, and is deleted. Key 3 follows key 2 in the same way. On exit the last key is deleted.",
    )
    for number, y in enumerate((30, 62, 94), 1):
        picture.text(0, y + 13, f"key {number}", kind="small")
    for y, start, end, life in ((30, 40, 150, 206), (62, 146, 256, 312)):
        picture.bar(start, y, end - start, "good")
        picture.bar(end, y, 26, "grace")
        picture.bar(end + 26, y, life - end - 26, "unused")
    picture.bar(252, 94, 78, "good")
    for x, name in ((40, "enter"), (150, "renew"), (256, "renew"), (330, "exit")):
        picture.line((x, 18), (x, 120), kind="dashed")
        picture.text(x, 12, name, "middle", "small")
    for x, name in ((178, "renew_before"), (284, "renew_before")):
        picture.text(x, 140, name, "middle", "small")
        picture.line((x - 28, 124), (x + 28, 124))
        picture.line((x - 28, 120), (x - 28, 128))
        picture.line((x + 28, 120), (x + 28, 128))
    for x, kind, told in (
        (8, "good", "lease.key"),
        (88, "grace", "grace: still works"),
        (216, "unused", "deleted early"),
    ):
        picture.bar(x, 168, 14, kind, height=12)
        picture.text(x + 20, 178, told, kind="small")
    return picture


def lease_states() -> Drawing:
    """Which states a lease goes through."""
    picture = Drawing(
        274,
        "The states of a lease",
        "A closed lease is valid once it is entered. If a renewal or a look fails, it is failing, and valid again when "
        "one succeeds. If the key ends meanwhile, or was refused or deleted, it is expired, until there is a new key. "
        "On exit it is closed, from any state.",
    )
    picture.box(8, 8, 84, "closed", "muted")
    picture.box(8, 118, 84, "valid", "good")
    picture.box(262, 118, 90, "failing", "doubt")
    picture.box(262, 234, 90, "expired", "bad")
    picture.arrow((34, 34), (34, 118))
    picture.text(40, 72, "enter: a key is\nthere", kind="small")
    picture.arrow((150, 92), (150, 21), (92, 21))
    picture.text(156, 40, "exit, from any state", kind="small")
    picture.line((150, 92), (150, 98), kind="dashed")
    picture.arrow((92, 126), (262, 126))
    picture.text(177, 120, "a renewal, a look fails", "middle", "small")
    picture.arrow((262, 138), (92, 138))
    picture.text(177, 153, "the next one succeeds", "middle", "small")
    picture.arrow((307, 144), (307, 234))
    picture.text(301, 190, "the key ends", "end", "small")
    picture.arrow((34, 144), (34, 252), (262, 252))
    picture.text(148, 268, "the key was refused, or is gone", "middle", "small")
    picture.arrow((262, 240), (70, 240), (70, 144))
    picture.text(76, 214, "a new key", kind="small")
    return picture


def lost_create() -> Drawing:
    """What becomes of a create whose answer was lost."""
    picture = Drawing(
        348,
        "A create whose answer was lost",
        "With a generated name: wait, delete by that name, and send again under a fresh name; a key that was not there "
        "is looked for in the background, and deleted if it turns up. With a name of your own: list the keys for a "
        "minute. Absent all the time: send again. Made by this call: delete it and send again. There before: "
        "DuplicateKeyNameError. Cannot be told: UnknownOutcomeError.",
    )
    picture.box(105, 4, 150, "the answer is lost", "doubt")
    picture.arrow((150, 30), (150, 46), (82, 46), (82, 84))
    picture.text(76, 64, "a generated\nname", "end", "small")
    picture.arrow((210, 30), (210, 46), (270, 46), (270, 84))
    picture.text(278, 64, "a name of\nyour own", kind="small")
    picture.box(4, 84, 156, "wait, as the policy\nsays")
    picture.arrow((82, 124), (82, 142))
    picture.box(4, 142, 156, "delete by that name")
    picture.arrow((82, 168), (82, 186))
    picture.box(4, 186, 156, "send again under\na fresh name", "good")
    picture.line((82, 226), (82, 246), kind="dashed")
    picture.text(
        4,
        262,
        "Was it not there? Then it is\nlooked for in the back-\nground, and deleted if it\nturns up.",
        kind="small",
    )
    picture.box(200, 84, 156, "list the keys,\nfor a minute")
    picture.line((186, 104), (186, 320))
    picture.line((200, 104), (186, 104))
    cases = [
        (146, "absent: send again", "good"),
        (188, "made by this call:\ndelete, send again", "good"),
        (244, "there before:\nDuplicateKeyNameError", "bad"),
        (300, "cannot be told:\nUnknownOutcomeError", "doubt"),
    ]
    for y, told, kind in cases:
        lines = told.count("\n") + 1
        middle = y + (_LINE * lines + 12) / 2
        picture.box(200, y, 156, told, kind)
        picture.arrow((186, middle), (200, middle))
    return picture


PICTURES: Final[dict[str, Callable[[], Drawing]]] = {
    "four-outcomes": four_outcomes,
    "one-refresh": one_refresh,
    "rotation": rotation,
    "lease-keys": lease_keys,
    "lease-states": lease_states,
    "lost-create": lost_create,
}


class Diagram(Directive):
    """`{diagram} name`: a picture, with its caption as the content."""

    required_arguments: ClassVar[int] = 1
    has_content: ClassVar[bool] = True

    def run(self) -> list[nodes.Node]:
        """Return the picture in a figure of its own."""
        name = self.arguments[0]
        if name not in PICTURES:
            raise self.error(f"there is no picture {name!r}")
        # So that a changed picture is drawn anew.
        self.state.document.settings.env.note_dependency(__file__)
        caption, messages = self.state.inline_text(" ".join(self.content), self.lineno)
        svg = PICTURES[name]().to_svg(name)
        begin = f'<figure class="diagram" id="diagram-{name}">{svg}<figcaption>'
        return [
            nodes.raw("", begin, format="html"),
            nodes.paragraph("", "", *caption),
            nodes.raw("", "</figcaption></figure>", format="html"),
            *messages,
        ]


def setup(app: Any) -> dict[str, bool]:
    """Add the directive to Sphinx."""
    app.add_directive("diagram", Diagram)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
