"""Where a map over a volume is strongest, or where the regions of an atlas lie: searched off the event loop."""

import math
from collections.abc import Callable

from bokeh.document import Document

from dashboard.cluster_table import ClusterTable
from dashboard.later import attempt, later
from dashboard.services import Services
from dashboard.volume_questions import FileQuestion, MapQuestion
from vislib.attribution import VolumeAttribution
from vislib.clusters import Cluster, Place, clusters, maximum, regions
from vislib.slices import VIEWS

_HALF = 0.5  # of the strongest colour: what clusters are above while no threshold is set
_REGIONS = 400  # of an atlas that are listed


class MapPlaces:
    """Fills the table of clusters or regions: one search at a time, and after it the newest."""

    def __init__(self, services: Services, jump: Callable[[Place], None]) -> None:
        self._services = services
        self.table = ClusterTable(jump)
        self._newest: Callable[[], None] | None = None  # what draws the newest search's result
        self._waiting: Callable[[], None] | None = None
        self._busy = False

    def clear(self, words: str) -> None:
        """Show nothing but a few words; a search that is under way is nobody's any more."""
        self._newest = self._waiting = None
        self.table.clear(words)

    def find(
        self,
        question: MapQuestion,
        found: VolumeAttribution,
        limit: float,
        threshold: float,
        document: Document | None,
    ) -> None:
        """Search a map; `limit` is the value of its strongest colour, `threshold` a share of it, 0 for half."""
        if isinstance(question, FileQuestion) and question.regions is not None:
            self._search(lambda: self._regions(question, found), document)
        elif limit <= 0:
            self.clear("The map is nowhere above 0." if not found.signed else "The map is 0 everywhere.")
        else:
            self._search(lambda: self._clusters(question, found, limit, threshold or _HALF), document)

    def _search(self, search: Callable[[], Callable[[], None]], document: Document | None) -> None:
        """Run a search, whose result is what shows it, unless another one is asked for meanwhile."""

        def begin() -> None:
            self._busy, self._waiting = True, None

            def work() -> None:
                show, problem = attempt(search)
                later(document, lambda: ended(show, problem))

            self._newest = begin
            self._services.reader.submit(work)

        def ended(show: Callable[[], None] | None, problem: str) -> None:
            self._busy = False
            if self._waiting is not None:
                self._waiting()
            elif self._newest is begin:
                if show is None:
                    self.table.clear(problem)
                else:
                    show()

        if self._busy:
            self._waiting = begin
        else:
            begin()

    def _clusters(
        self, question: MapQuestion, found: VolumeAttribution, limit: float, share: float
    ) -> Callable[[], None]:
        volume = question.scan.volume
        near = clusters(found.values, volume.affine, share * limit, signed=found.signed)
        strongest = maximum(found.values, found.signed)
        of = f"({share:.0%} of the strongest colour)".replace("%", " %")
        return lambda: self.table.show(strongest, near, share * limit, of, volume, chance_at(found))

    def _regions(self, question: FileQuestion, found: VolumeAttribution) -> Callable[[], None]:
        volume = question.scan.volume
        listed: list[Cluster] = regions(found.values, volume.affine, question.names, most=_REGIONS)
        return lambda: self.table.show_regions(listed, volume)


def chance_at(found: VolumeAttribution) -> Callable[[Place], float]:
    """The probability, at a voxel, of what a map explains in its slice; NaN where there is none."""
    chances = found.probabilities
    if chances is None or not found.plane:
        return lambda _: math.nan
    across = VIEWS[found.plane].across
    return lambda ijk: float(chances[ijk[across]])
