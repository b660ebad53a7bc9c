"""The page in the browser, made with NiceGUI: it draws the card of a player and hands on what is clicked or typed."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from almeta.errors import AlmetaError
from almeta.page.card import Card, Player
from almeta.page.session import Session, Thinker
from almeta.queries.store import Round

try:
    from nicegui import app, background_tasks, ui
    from nicegui.events import KeyEventArguments
    from starlette.middleware.trustedhost import TrustedHostMiddleware
except ModuleNotFoundError as error:
    raise AlmetaError(
        f"the page needs a package that is not installed ({error}): pip install 'almeta[label]'"
    ) from error

HOST = "127.0.0.1"
PORTS = range(8080, 8180)
_SMALL = 100  # pixels below which an image is shown pixel by pixel
_HELP = "keys: 1 to 9 answer, 0 skips, u takes back"


class Site:
    """The page of a player; all browsers that open it see the same.

    Args:
        player: decides what is shown.
        thinker: chooses the next rows of a `Session`; None if there is nothing to think about.
    """

    def __init__(self, player: Player, thinker: Thinker | None = None) -> None:
        self._player, self._thinker = player, thinker
        self._session = player if isinstance(player, Session) else None
        self._thinking = asyncio.Lock()
        self._trouble = ""  # the last error
        # What is drawn already: by what the card is told from others, and how many rounds.
        self._drawn: tuple[Any, ...] = ()
        self._drawn_rounds = 0

    def build(self) -> None:
        """Build the page for a browser."""
        ui.colors(primary="#00796b")
        with ui.header().classes("items-baseline bg-primary"):
            ui.label(self._player.title).classes("text-lg")
            self._draw_status()
        with ui.column().classes("w-full max-w-3xl mx-auto"):
            self._draw()
            self._draw_curve()

    async def think(self) -> None:
        """Think until there is nothing new to think about, while the page goes on."""
        if self._thinker is None or self._session is None or self._thinking.locked():
            return
        async with self._thinking:
            while (plan := self._session.plan()) is not None:
                with self._told():
                    self._session.take(await asyncio.to_thread(self._thinker.think, plan))
                self._refresh()
                if self._trouble:
                    return

    def _refresh(self) -> None:
        """Draw what has changed; a card that stays is left as it is, since the person may be typing in it."""
        self._draw_status.refresh()
        if self._session is not None and self._drawn_rounds != len(self._session.rounds):
            self._drawn_rounds = len(self._session.rounds)
            self._draw_curve.refresh()
        card = self._player.card()
        if self._drawn != (drawn := (card.token, card.why, card.choices, self._trouble)):
            self._drawn = drawn
            self._draw.refresh()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Show an error of the block on the page."""
        self._trouble = ""
        try:
            yield
        except AlmetaError as error:
            self._trouble = str(error)

    def _do(self, action: Callable[[], Any]) -> None:
        """Do what the person wants, and show what comes of it."""
        with self._told():
            action()
        self._refresh()
        background_tasks.create(self.think())

    # ---- what is drawn

    @ui.refreshable_method
    def _draw_status(self) -> None:
        ui.label(self._player.status()).classes("status")

    @ui.refreshable_method
    def _draw(self) -> None:
        card = self._player.card()
        if self._trouble:
            ui.label(self._trouble).classes("trouble text-red-8")
        with ui.card().classes("w-full"):
            ui.label(card.title).classes("title text-sm text-grey-7")
            ui.label(card.why).classes("why text-lg")
            self._draw_content(card)
            self._draw_choices(card)
        with ui.row().classes("w-full items-center"):
            ui.button("Undo (u)", on_click=lambda: self._do(self._player.undo)).props("flat no-caps")
            if (session := self._session) is not None:
                ui.button("Download CSV", on_click=lambda: self._download(session)).props("flat no-caps")
            ui.label(_HELP).classes("text-sm text-grey-7")
        # A keyboard for each card: a key that was pressed before this card was seen does not count for it.
        ui.keyboard(lambda event: self._press(card, event), repeating=False, ignore=["input", "textarea"])

    def _draw_content(self, card: Card) -> None:
        if card.image is not None:
            shown = ui.image(card.image).classes("picture").style("width: 18rem")
            if card.image.width < _SMALL:
                shown.style("image-rendering: pixelated")
        if card.text is not None:
            ui.label(card.text).classes("text text-xl whitespace-pre-wrap")
        if card.cells:
            with ui.grid(columns="auto 1fr").classes("gap-x-6 gap-y-1 max-h-96 overflow-auto"):
                for name, cell in card.cells:
                    ui.label(name).classes("text-grey-7")
                    ui.label(cell).classes("break-all")

    def _draw_choices(self, card: Card) -> None:
        if card.token is None:
            return
        with ui.row().classes("items-center"):
            for number, choice in enumerate(card.choices):
                key = f" ({number + 1})" if number < 9 else ""
                ui.button(f"{choice}{key}", on_click=lambda _, n=number: self._choose(card, n)).props("no-caps")
            if card.may_skip:
                ui.button("Skip (0)", on_click=lambda: self._choose(card, None)).props("outline no-caps")
            if (session := self._session) is not None:
                name = ui.input("a new class").props("dense")
                name.on("keydown.enter", lambda: self._do(lambda: session.add_class(name.value)))

    @ui.refreshable_method
    def _draw_curve(self) -> None:
        if self._session is None:
            return
        ui.label(self._session.advice).classes("advice")
        if any(one.accuracy is not None for one in self._session.rounds):
            ui.echart(curve(self._session.rounds)).classes("curve h-56")

    # ---- what is clicked or typed

    def _choose(self, card: Card, choice: int | None) -> None:
        if (token := card.token) is not None:
            self._do(lambda: self._player.answer(token, choice))

    def _press(self, card: Card, event: KeyEventArguments) -> None:
        if not event.action.keydown or event.modifiers.ctrl or event.modifiers.alt or event.modifiers.meta:
            return
        if event.key.number:
            self._choose(card, event.key.number - 1)
        elif event.key.number == 0 and card.may_skip:
            self._choose(card, None)
        elif event.key.name == "u":
            self._do(self._player.undo)

    @staticmethod
    def _download(session: Session) -> None:
        ui.download.content(session.table().to_csv(index=False), "labels.csv")


def curve(rounds: Sequence[Round]) -> dict[str, Any]:
    """Return the chart of the estimated accuracy over the labels, with its 95 % interval, for Apache ECharts."""
    known = [one for one in rounds if one.accuracy is not None]

    def line(name: str, values: Callable[[Round], float], **options: Any) -> dict[str, Any]:
        data = [[one.labels, round(values(one), 4)] for one in known]
        return {"type": "line", "name": name, "data": data, "color": "#00796b", **options}

    bound = {"stack": "interval", "symbol": "none", "lineStyle": {"opacity": 0}, "tooltip": {"show": False}}
    return {
        "animation": False,
        "title": {"text": "accuracy on the rows without a label, estimated", "textStyle": {"fontSize": 14}},
        "grid": {"left": 50, "right": 20, "top": 40, "bottom": 40},
        "xAxis": {"type": "value", "name": "labels", "nameLocation": "middle", "nameGap": 25, "min": "dataMin"},
        "yAxis": {"type": "value", "min": 0, "max": 1},
        "tooltip": {"trigger": "axis"},
        "series": [
            line("low", lambda one: one.low, **bound),
            line("95 % interval", lambda one: one.high - one.low, **bound, areaStyle={"opacity": 0.2}),
            line("accuracy", lambda one: one.accuracy or 0.0),
        ],
    }


def serve(player: Player, thinker: Thinker | None = None, port: int | None = None, show: bool = True) -> None:
    """Serve the page to browsers of this machine, until the process is stopped.

    Args:
        player: decides what is shown.
        thinker: chooses the next rows of a `Session`.
        port: of the page; None for the first free one of `PORTS`.
        show: whether to open the page in a browser.

    Raises:
        AlmetaError: if the port, or all of `PORTS`, are in use.
    """
    found = next((number for number in (PORTS if port is None else [port]) if _is_free(number)), None)
    if found is None:
        raise AlmetaError(f"port {port or f'{PORTS[0]} to {PORTS[-1]}'} is in use; choose another one with port=...")
    site = Site(player, thinker)
    app.on_startup(site.think)
    # A page of somebody else that the browser shows reaches this server under another name only.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    app.on_startup(lambda: print(f"The page is at http://{HOST}:{found} (Ctrl-C ends it)", flush=True))
    ui.run(
        site.build,
        host=HOST,
        port=found,
        title=player.title,
        dark=None,
        show=show,
        reload=False,
        show_welcome_message=False,
    )


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex((HOST, port)) != 0
