"""What every table of the page needs of Bokeh."""

from bokeh.models import ColumnDataSource, CustomJS, DataTable


def keep_drawn(table: DataTable, source: ColumnDataSource) -> None:
    """Have a table drawn anew whenever its rows change.

    Bokeh 3.9 redraws a table whose rows stay as many only when its view says that it has changed.
    """
    source.js_on_change("data", CustomJS(args={"table": table}, code="table.view.change.emit()"))
