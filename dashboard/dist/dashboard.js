// The page's own BokehJS models; their properties are documented where Python declares them, in dashboard/canvas.py.
(function () {
  "use strict"
  const {LayoutDOM, LayoutDOMView} = Bokeh.require("models/layouts/layout_dom")
  const {ColumnDataSource} = Bokeh.require("models/sources/column_data_source")
  const {Signal0} = Bokeh.require("core/signaling")

  const SHARED_CSS = `
    :host { position: relative; overflow: hidden; }
    .stage, .grid { position: absolute; inset: 0; outline: none; }
    .stage:focus-visible, .grid:focus-visible { outline: 2px solid var(--accent, #0b7a6b); outline-offset: -2px; }
    canvas { position: absolute; left: 0; top: 0; display: block; }
    .chip { position: absolute; padding: 0 5px; border-radius: 3px; font: 600 11px/16px var(--bokeh-base-font, sans-serif);
      font-variant-numeric: tabular-nums; color: #fff; background: rgba(10, 14, 18, .62); pointer-events: none;
      white-space: nowrap; max-width: calc(100% - 8px); box-sizing: border-box; overflow: hidden; text-overflow: ellipsis; }
    .chip:empty { display: none; }
    .placeholder { position: absolute; inset: 0; display: flex; align-items: center; justify-content: center; padding: 12px;
      text-align: center; color: var(--quiet, #5b6572); font: 13px/1.45 var(--bokeh-base-font, sans-serif); pointer-events: none; }
    .filled .placeholder, .placeholder:empty { display: none; }
    .bone { background: var(--sunken, #eceef1); animation: breathe 1.8s ease-in-out infinite alternate; }
    @keyframes breathe { from { opacity: 1 } to { opacity: .55 } }
    @media (prefers-reduced-motion: reduce) { .bone { animation: none } }`

  const MOSAIC_CSS = `
    .grid > .placeholder, .stage > .placeholder { inset: auto; left: 50%; top: 50%; transform: translate(-50%, -50%); width: max-content;
      max-width: min(26em, 80%); padding: 10px 16px; border-radius: 6px; background: var(--surface, #fff); color: var(--text, #1b2027);
      box-shadow: 0 1px 6px var(--shadow, rgba(20, 28, 38, .14)); z-index: 1; }
    .cell { position: absolute; box-sizing: border-box; border-radius: 3px; cursor: pointer; }
    .cell::after { content: ""; position: absolute; inset: 0; border-radius: 3px; pointer-events: none; }
    .cell:hover::after { box-shadow: inset 0 0 0 2px var(--quiet, #8a94a1), inset 0 0 0 3px rgba(255, 255, 255, .65); }
    .cell.chosen { z-index: 1; }
    .cell.chosen::after { inset: -2px; box-shadow: 0 0 0 2px var(--surface, #fff), inset 0 0 0 3px var(--accent, #0b7a6b); border-radius: 5px; }
    .cell.dimmed::before { content: ""; position: absolute; inset: 0; background: var(--page, #f4f5f7); opacity: .6; }
    .filled .bone { background: none; animation: none; }
    .unit { left: 4px; top: 4px; }
    .badge { right: 4px; bottom: 4px; font-weight: 500; background: rgba(122, 72, 0, .88); }
    .tip { position: absolute; z-index: 2; left: 0; top: 0; padding: 4px 8px; border-radius: 4px; pointer-events: none; white-space: nowrap;
      color: var(--text, #1b2027); background: var(--surface, #fff); border: 1px solid var(--line, #d8dce2);
      box-shadow: 0 2px 8px var(--shadow, rgba(0, 0, 0, .2)); font: 12px/1.4 var(--bokeh-base-font, sans-serif); font-variant-numeric: tabular-nums; }
    .tip[hidden] { display: none; }`

  const FILM_CSS = `
    .pane { position: absolute; overflow: hidden; border-radius: 4px; }
    .pane[hidden] { display: none; }
    .pane.full { background: none; animation: none; }
    .caption { left: 6px; bottom: 6px; font-size: 12px; line-height: 18px; }
    .part { top: 6px; margin-left: 6px; font-weight: 500; }
    .letter { position: absolute; transform: translate(-50%, -50%); pointer-events: none; color: #eef2f5; font: 650 12px/14px var(--bokeh-base-font, sans-serif);
      text-shadow: 0 0 2px #000, 0 0 3px #000; }`

  // ---- small helpers --------------------------------------------------------------------------------------------

  function element(parent, tag, classes = "", attributes = {}) {
    const made = document.createElement(tag)
    if (classes != "") made.className = classes
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
    parent.append(made)
    return made
  }

  function place(el, {left, top, width, height}) {
    Object.assign(el.style, {left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px`})
  }

  function put_text(el, text) { if (el.textContent != text) el.textContent = text }

  function put_attribute(el, key, value) { if (el.getAttribute(key) != value) el.setAttribute(key, value) }

  function number_text(value) {
    if (value == null || !Number.isFinite(value)) return "n/a"
    return Math.abs(value) >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3)))
  }

  /** An image's blob; the browser looks at the first bytes for itself where the type is unknown. */
  function to_blob(buffer, mime = "") {
    const first = buffer.byteLength > 0 ? new Uint8Array(buffer, 0, 1)[0] : 0
    return new Blob([buffer], {type: mime != "" ? mime : first == 0xff ? "image/jpeg" : "image/png"})
  }

  /** Gives a canvas the device pixels of a box; setting a canvas's size clears it, so only when it changed. */
  function fit_canvas(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1
    const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))]
    if (canvas.width == w && canvas.height == h) return false
    canvas.width = w
    canvas.height = h
    Object.assign(canvas.style, {width: `${width}px`, height: `${height}px`})
    return true
  }

  /** Few pixels drawn large are shown as the pixels that they are, all else smoothly. */
  function choose_smoothing(context, smoothing, source_side, scale) {
    const pixelated = smoothing == "pixelated" || (smoothing == "auto" && source_side < 64 && scale >= 3)
    context.imageSmoothingEnabled = !pixelated
    context.imageSmoothingQuality = "high"
  }

  /** The grid of n boxes of one aspect (width / height) that are as large as a box allows, or of given columns. */
  function arrange(n, aspect, width, height, gap, columns = 0) {
    let best = null
    for (let c = columns || 1; c <= (columns || n); c++) {
      const rows = Math.ceil(n / c)
      const wide = Math.floor(Math.min((width - gap * (c - 1)) / c, (height - gap * (rows - 1)) / rows * aspect))
      if (best == null || wide > best.width) best = {columns: c, rows, width: wide, height: Math.floor(wide / aspect)}
    }
    if (best == null || best.width < 1 || best.height < 1) return null
    const used_width = best.columns * (best.width + gap) - gap, used_height = best.rows * (best.height + gap) - gap
    return {...best, gap, used_width, used_height}
  }

  function box_of(grid, index, left, top) {
    const column = index % grid.columns, row = Math.floor(index / grid.columns)
    return {left: left + column * (grid.width + grid.gap), top: top + row * (grid.height + grid.gap),
            width: grid.width, height: grid.height}
  }

  function remember(list, value, most = 512) {
    list.push(value)
    if (list.length > most) list.shift()
  }

  function register(model, name, view, properties, module = "dashboard.canvas") {
    model.__module__ = module
    model.__name__ = name
    model.prototype.default_view = view
    model.define(properties)
    return model
  }

  // ---- a canvas view: one animation frame a change, redrawn at once when its box changes ------------------------

  class StageView extends LayoutDOMView {
    get child_models() { return [] }

    initialize() {
      super.initialize()
      this.sizes = new ResizeObserver(() => { if (!this.is_destroyed) this.repaint() })
      this.frame_request = null
      this.watch_ratio()
    }

    // Zoom and a move to another screen change the device pixels without changing the box.
    watch_ratio() {
      this.ratio_query?.removeEventListener("change", this.ratio_listener)
      this.ratio_listener = () => { this.watch_ratio(); this.request() }
      this.ratio_query = matchMedia(`(resolution: ${window.devicePixelRatio || 1}dppx)`)
      this.ratio_query.addEventListener("change", this.ratio_listener)
    }

    stylesheets() { return [...super.stylesheets(), SHARED_CSS] }

    render() {
      super.render()
      this.sizes.disconnect()
      this.stage = element(this.shadow_el, "div", "stage")
      this.furnish()
      this.placeholder = element(this.stage, "div", "placeholder")
      this.sizes.observe(this.stage)
      this.request()
    }

    remove() {
      this.sizes.disconnect()
      this.ratio_query.removeEventListener("change", this.ratio_listener)
      if (this.frame_request != null) cancelAnimationFrame(this.frame_request)
      super.remove()
    }

    get box() { return {width: this.stage.clientWidth, height: this.stage.clientHeight} }

    request() {
      if (this.frame_request != null || this.is_destroyed) return
      this.frame_request = requestAnimationFrame(() => {
        this.frame_request = null
        if (!this.is_destroyed && this.stage != null) this.repaint()
      })
    }
  }

  // ---- Mosaic ---------------------------------------------------------------------------------------------------

  class MosaicView extends StageView {
    initialize() {
      super.initialize()
      this.ticket = 0        // frames asked for
      this.shown = 0         // ticket of the newest frame decoded
      this.picture = null    // {bitmap, count, columns, gap}: what is on the canvas
      this.unpainted = null  // tick of a frame that waits for its paint
      this.hovered = -1
      this.geometry = ""
    }

    connect_signals() {
      super.connect_signals()
      const p = this.model.properties
      this.connect(p.tick.change, () => { this.take() })
      this.on_change([p.n, p.columns, p.aspect, p.arrangement, p.spacing, p.anchor, p.smoothing], () => this.request())
      this.on_change([p.labels, p.captions, p.badges, p.dimmed, p.selected, p.description, p.placeholder], () => this.request())
      this.watch_source()
      this.connect(p.source.change, () => { this.watch_source(); this.request() })
    }

    watch_source() {
      if (this.watched != null) for (const signal of this.watched) this.disconnect(signal, this.refresh)
      const {source} = this.model
      this.refresh ??= () => { this.request() }
      this.watched = source == null ? [] : [source.properties.data.change, source.change, source.streaming, source.patching]
      for (const signal of this.watched) this.connect(signal, this.refresh)
    }

    stylesheets() { return [...super.stylesheets(), MOSAIC_CSS] }

    furnish() {
      this.canvas = element(this.stage, "canvas", "", {role: "img"})
      this.grid_el = element(this.stage, "div", "grid", {role: "listbox", tabindex: "0"})
      this.tip = element(this.stage, "div", "tip", {role: "tooltip"})
      this.tip.hidden = true
      this.cells = []
      this.geometry = ""
      this.stage.addEventListener("pointermove", (event) => this.hover(event))
      this.stage.addEventListener("pointerleave", () => this.hover(null))
      this.stage.addEventListener("click", (event) => {
        const index = this.index_of(event)
        if (index >= 0) this.model.selected = index
      })
      this.stage.addEventListener("keydown", (event) => {
        if (!event.defaultPrevented && this.model.move(event)) event.preventDefault()
      })
      if (this.picture == null && this.model.frame.byteLength > 0) this.take()
    }

    remove() {
      this.picture?.bitmap.close()
      this.picture = null
      super.remove()
    }

    index_of(event) {
      const cell = event.composedPath().find((el) => el.classList?.contains("cell"))
      return cell == null ? -1 : this.cells.indexOf(cell)
    }

    async take() {
      const {frame, mime, tick, n: count, columns, gap} = this.model
      const ticket = ++this.ticket
      let bitmap = null
      if (frame.byteLength > 0) {
        try {
          bitmap = await createImageBitmap(to_blob(frame, mime))
        } catch (error) {
          console.warn(`vislib: frame ${tick} of a mosaic could not be decoded (${error})`)
          return this.acknowledge(tick)
        }
      }
      if (ticket < this.shown || this.is_destroyed) return void bitmap?.close()
      this.shown = ticket
      this.picture?.bitmap.close()
      this.picture = bitmap == null ? null : {bitmap, count, columns: Math.max(1, columns), gap}
      this.unpainted = tick
      this.request()
    }

    /** Width and height of a cell in the frame, in its own pixels. */
    source_cell() {
      const {bitmap, count, columns, gap} = this.picture
      const rows = Math.ceil(count / columns)
      return {width: (bitmap.width - gap * (columns - 1)) / columns, height: (bitmap.height - gap * (rows - 1)) / rows}
    }

    repaint() {
      const {width, height} = this.box
      if (width == 0 || height == 0) return  // hidden: painted and acknowledged when it is seen again
      const {model} = this
      const picture = this.picture?.count == model.n ? this.picture : null
      const source = picture == null ? null : this.source_cell()
      const aspect = source == null ? model.aspect : source.width / source.height
      const fixed = model.arrangement == "columns" ? Math.max(1, model.columns) : 0
      this.grid = arrange(model.n, aspect, width, height, model.spacing, fixed)
      this.lay_out(width, height)
      if (fit_canvas(this.canvas, width, height) || picture == null) this.wipe()
      if (picture != null && this.grid != null) this.draw(picture, source)
      this.stage.classList.toggle("filled", picture != null)
      this.describe()
      if (this.unpainted != null) {
        model.paints += 1
        this.acknowledge(this.unpainted)
        this.unpainted = null
      }
    }

    // Acknowledged in the task after the frame that painted, so that a browser that paints slowly asks slowly.
    acknowledge(tick) { setTimeout(() => { if (!this.is_destroyed) this.model.ack = tick }) }

    wipe() { this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height) }

    draw({bitmap, columns, gap, count}, source) {
      const context = this.canvas.getContext("2d", {alpha: true})
      const ratio = window.devicePixelRatio || 1
      choose_smoothing(context, this.model.smoothing, Math.max(source.width, source.height), this.grid.width * ratio / source.width)
      for (let i = 0; i < count; i++) {
        const box = this.boxes[i]
        const [left, top] = [Math.round(box.left * ratio), Math.round(box.top * ratio)]
        context.drawImage(bitmap, (i % columns) * (source.width + gap), Math.floor(i / columns) * (source.height + gap),
                          source.width, source.height, left, top,
                          Math.round((box.left + box.width) * ratio) - left, Math.round((box.top + box.height) * ratio) - top)
      }
    }

    lay_out(width, height) {
      const {model, grid} = this
      const count = grid == null ? 0 : model.n
      const geometry = JSON.stringify([count, width, height, grid, model.anchor])
      if (geometry == this.geometry) return
      this.geometry = geometry
      while (this.cells.length > count) this.cells.pop().remove()
      while (this.cells.length < count) {
        const cell = element(this.grid_el, "div", "cell bone", {role: "option", id: `cell-${this.cells.length}`})
        element(cell, "span", "chip unit")
        element(cell, "span", "chip badge")
        this.cells.push(cell)
      }
      const left = grid == null || model.anchor == "start" ? 0 : Math.floor((width - grid.used_width) / 2)
      const top = grid == null || model.anchor == "start" ? 0 : Math.floor((height - grid.used_height) / 2)
      this.boxes = this.cells.map((_, index) => box_of(grid, index, left, top))
      this.cells.forEach((cell, index) => place(cell, this.boxes[index]))
      this.wipe()
      if (grid == null) return
      model.shown_columns = grid.columns
      const pixels = Math.round(Math.max(grid.width, grid.height) * (window.devicePixelRatio || 1))
      if (model.cell_pixels != pixels) setTimeout(() => { model.cell_pixels = pixels })
    }

    describe() {
      const {model} = this
      const dimmed = new Set(model.dimmed)
      this.cells.forEach((cell, index) => {
        const chosen = index == model.selected
        cell.classList.toggle("chosen", chosen)
        cell.classList.toggle("dimmed", dimmed.has(index))
        put_attribute(cell, "aria-selected", String(chosen))
        put_attribute(cell, "aria-label", model.sentence(index))
        put_text(cell.children[0], model.caption(index))
        put_text(cell.children[1], model.badges[index] ?? "")
      })
      const description = model.description || `${model.n} pictures`
      put_attribute(this.canvas, "aria-label", description)
      put_attribute(this.grid_el, "aria-label", description)
      put_attribute(this.grid_el, "aria-activedescendant", this.cells[model.selected]?.id ?? "")
      put_text(this.placeholder, model.placeholder)
      this.show_tip()
    }

    hover(event) {
      this.hovered = event == null ? -1 : this.index_of(event)
      if (event != null) {
        const host = this.stage.getBoundingClientRect()
        this.pointer = {x: event.clientX - host.left, y: event.clientY - host.top}
      }
      this.show_tip()
    }

    show_tip() {
      const hidden = this.hovered < 0 || this.hovered >= this.cells.length
      this.tip.hidden = hidden
      if (hidden) return
      put_text(this.tip, this.model.sentence(this.hovered))
      const {width, height} = this.box, {offsetWidth: w, offsetHeight: h} = this.tip
      const below = this.pointer.y + 18 + h <= height
      const [x, y] = [Math.max(0, Math.min(this.pointer.x + 12, width - w)), below ? this.pointer.y + 18 : this.pointer.y - h - 8]
      this.tip.style.transform = `translate(${Math.round(x)}px, ${Math.round(Math.max(0, y))}px)`
    }
  }

  class Mosaic extends LayoutDOM {
    initialize() {
      super.initialize()
      this.paints = 0  // frames painted: for tests and measurements
    }

    cell_value(column, index) { return this.source?.data?.[column]?.[index] }

    caption(index) { return this.captions[index] ?? String(this.cell_value("unit", index) ?? "") }

    sentence(index) {
      const [unit, score, step] = ["unit", "score", "step"].map((name) => this.cell_value(name, index))
      const parts = [this.labels[index] || (unit == null ? `cell ${index}` : `unit ${unit}`)]
      if (score != null) parts.push(`score ${number_text(score)}`)
      if (step != null && step >= 0) parts.push(`step ${step}`)
      if (this.badges[index]) parts.push(this.badges[index])
      return parts.join(", ")
    }

    /** Moves the choice as a key says; tells whether the key meant anything. */
    move({key, ctrlKey, altKey, metaKey}) {
      if (ctrlKey || altKey || metaKey || this.n == 0) return false
      const columns = Math.max(1, this.shown_columns), last = this.n - 1, at = this.selected
      const wanted = {ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - columns, ArrowDown: at + columns, Home: 0, End: last}[key]
      if (wanted == null) return false
      if (at < 0) this.selected = 0
      else if (wanted >= 0 && wanted <= last) this.selected = wanted
      return true
    }
  }
  register(Mosaic, "Mosaic", MosaicView, ({Bytes, Int, Str, Float, List, Enum, Nullable, Ref}) => ({
    frame: [Bytes, () => new ArrayBuffer(0)], mime: [Str, "image/jpeg"], tick: [Int, 0], ack: [Int, 0],
    n: [Int, 0], columns: [Int, 1], gap: [Int, 0], aspect: [Float, 1],
    arrangement: [Enum("auto", "columns"), "auto"], spacing: [Int, 6], anchor: [Enum("start", "center"), "start"],
    smoothing: [Enum("auto", "smooth", "pixelated"), "auto"],
    source: [Nullable(Ref(ColumnDataSource)), null],
    labels: [List(Str), []], captions: [List(Str), []], badges: [List(Str), []], dimmed: [List(Int), []],
    selected: [Int, -1], description: [Str, ""], placeholder: [Str, ""],
    shown_columns: [Int, 1], cell_pixels: [Int, 0],
  }))

  // ---- UnitFilm -------------------------------------------------------------------------------------------------

  const DECODED_BYTES = 64 << 20

  class UnitFilm extends LayoutDOM {
    initialize() {
      super.initialize()
      this.changed = new Signal0(this, "changed")
      this.timings = []  // milliseconds from a change of the step to its paint, the newest 512
      this.paints = 0
      this.epoch = 0
      this.clear()
      this.take()
      this.take_live()
    }

    connect_signals() {
      super.connect_signals()
      const p = this.properties
      this.connect(p.film_id.change, () => { this.clear(); this.changed.emit() })
      this.connect(p.tick.change, () => { this.take() })
      this.connect(p.keep.change, () => { this.thin(); this.changed.emit() })
      // Picture and step arrive one after the other: whichever comes last makes the pair right.
      for (const property of [p.live, p.live_step, p.live_score]) this.connect(property.change, () => { this.take_live() })
    }

    clear() {
      this.epoch += 1
      for (const frame of this.kept?.values() ?? []) frame.bitmap?.close()
      this.live_frame?.bitmap.close()
      this.kept = new Map()      // step -> {step, score, blob, bitmap, decoding}
      this.steps = []            // kept steps, ascending
      this.recent = new Set()    // decoded frames, the least recently shown first
      this.decoded_bytes = 0
      this.live_frame = null
    }

    get newest() { return Math.max(this.steps.at(-1) ?? -1, this.live_frame?.step ?? -1) }

    take() {
      if (this.tick == 0) return
      let at = 0
      this.chunk_steps.forEach((step, k) => {
        const bytes = this.chunk.slice(at, at += this.chunk_sizes[k])
        this.forget(step)
        this.kept.set(step, {step, score: this.chunk_scores[k] ?? null, blob: to_blob(bytes), bitmap: null, decoding: null})
      })
      this.thin()
      this.changed.emit()
      this.decode_ahead()
    }

    thin() {
      if (this.keep.length > 0) {
        const alive = new Set(this.keep)
        for (const step of [...this.kept.keys()]) if (!alive.has(step)) this.forget(step)
      }
      this.steps = [...this.kept.keys()].sort((a, b) => a - b)
    }

    forget(step) {
      const frame = this.kept.get(step)
      if (frame == null) return
      this.release(frame)
      this.kept.delete(step)
    }

    release(frame) {
      if (frame.bitmap == null) return
      this.decoded_bytes -= frame.bitmap.width * frame.bitmap.height * 4
      this.recent.delete(frame)
      frame.bitmap.close()
      frame.bitmap = null
    }

    /** The newest picture at or before a step, else the first; null while there is none. */
    at(step) {
      let low = 0, high = this.steps.length
      while (low < high) {
        const middle = (low + high) >> 1
        if (this.steps[middle] <= step) low = middle + 1
        else high = middle
      }
      const kept = this.kept.get(this.steps[Math.max(0, low - 1)]) ?? null
      const live = this.live_frame
      if (live != null && (kept == null || (live.step <= step && (live.step > kept.step || kept.step > step)))) return live
      return kept
    }

    async decode(frame) {
      if (frame.bitmap != null) {
        if (this.recent.delete(frame)) this.recent.add(frame)
        return
      }
      frame.decoding ??= createImageBitmap(frame.blob)
      try {
        const bitmap = await frame.decoding
        if (frame.bitmap != null) return
        if (this.kept.get(frame.step) !== frame) return void bitmap.close()
        frame.bitmap = bitmap
        this.decoded_bytes += bitmap.width * bitmap.height * 4
        this.recent.add(frame)
        for (const old of this.recent) {
          if (this.decoded_bytes <= DECODED_BYTES || old === frame) break
          this.release(old)
        }
      } catch (error) {
        console.warn(`vislib: the picture of step ${frame.step} could not be decoded (${error})`)
        this.forget(frame.step)
        this.thin()
      } finally {
        frame.decoding = null
      }
    }

    // The whole film is decoded before anybody scrubs, as far as the memory set aside for it goes.
    async decode_ahead() {
      const epoch = this.epoch
      for (const step of [...this.steps]) {
        const frame = this.kept.get(step)
        if (frame == null || frame.bitmap != null) continue
        const one = this.recent.size == 0 ? 0 : this.decoded_bytes / this.recent.size
        if (this.decoded_bytes + one > DECODED_BYTES) return
        await this.decode(frame)
        if (epoch != this.epoch) return
      }
    }

    async take_live() {
      const {live, live_step: step, live_score: score, epoch} = this
      const ticket = this.live_ticket = (this.live_ticket ?? 0) + 1
      if (live.byteLength == 0 || step < 0) return
      try {
        const bitmap = await createImageBitmap(to_blob(live))
        if (epoch != this.epoch || ticket < (this.live_frame?.ticket ?? 0)) return void bitmap.close()
        this.live_frame?.bitmap.close()
        this.live_frame = {step, score, bitmap, ticket}
        this.changed.emit()
      } catch (error) {
        console.warn(`vislib: the live picture of step ${step} could not be decoded (${error})`)
      }
    }
  }

  class UnitFilmView extends StageView {
    initialize() {
      super.initialize()
      this.asked = null  // when the step changed that is not painted yet
    }

    connect_signals() {
      super.connect_signals()
      const p = this.model.properties
      this.on_change([p.step, p.compare], () => { this.asked ??= performance.now(); this.request() })
      this.on_change([p.smoothing, p.anchor, p.parts, p.edges, p.letters, p.description, p.placeholder], () => this.request())
      this.connect(this.model.changed, () => { this.request() })
    }

    stylesheets() { return [...super.stylesheets(), FILM_CSS] }

    furnish() {
      this.stage.setAttribute("role", "img")
      this.stage.tabIndex = 0
      this.panes = [0, 1].map(() => {
        const el = element(this.stage, "div", "pane bone")
        return {el, canvas: element(el, "canvas"), caption: element(el, "span", "chip caption"), parts: [], letters: [], frame: null}
      })
    }

    repaint() {
      const {model} = this, {width, height} = this.box
      if (width == 0 || height == 0) return
      const steps = model.compare == null ? [model.step] : [model.compare, model.step]
      const frames = steps.map((step) => model.at(step))
      const waiting = frames.filter((frame) => frame != null && frame.bitmap == null)
      // What is on the screen stays until all of what is wanted is there.
      if (waiting.length > 0) return void Promise.all(waiting.map((frame) => model.decode(frame))).then(() => this.request())
      const sample = frames.find((frame) => frame != null)?.bitmap
      const aspect = sample == null ? 1 : sample.width / sample.height
      const grid = arrange(steps.length, aspect, width, height, 8)
      if (grid == null) return
      const centre = model.anchor == "center"
      const left = centre ? Math.floor((width - grid.used_width) / 2) : 0, top = centre ? Math.floor((height - grid.used_height) / 2) : 0
      this.panes.forEach((pane, k) => {
        pane.el.hidden = k >= steps.length
        if (k < steps.length) this.draw(pane, frames[k] ?? null, box_of(grid, k, left, top))
      })
      this.describe(frames)
      this.painted()
    }

    draw(pane, frame, box) {
      place(pane.el, box)
      const cleared = fit_canvas(pane.canvas, box.width, box.height)
      pane.el.classList.toggle("full", frame != null)
      put_text(pane.caption, frame == null ? "" : this.words(frame).join(" · "))
      this.name_parts(pane, frame == null ? [] : this.model.parts)
      if (frame == null) {
        pane.canvas.getContext("2d").clearRect(0, 0, pane.canvas.width, pane.canvas.height)
      } else if (cleared || pane.bitmap !== frame.bitmap || pane.smoothing != this.model.smoothing) {
        const context = pane.canvas.getContext("2d"), {bitmap} = frame, {width: w, height: h} = pane.canvas
        choose_smoothing(context, this.model.smoothing, Math.max(bitmap.width, bitmap.height), w / bitmap.width)
        context.clearRect(0, 0, w, h)
        context.drawImage(bitmap, 0, 0, w, h)
      }
      pane.bitmap = frame?.bitmap ?? null
      pane.smoothing = this.model.smoothing
    }

    name_parts(pane, parts) {
      const {edges, letters} = this.model
      while (pane.parts.length > parts.length) {
        pane.parts.pop().remove()
        for (const letter of pane.letters.splice(4 * pane.parts.length)) letter.remove()
      }
      parts.forEach((name, k) => {
        const chip = pane.parts[k] ??= element(pane.el, "span", "chip part"), from = edges[k] ?? 0
        put_text(chip, name)
        const wide = (edges[k + 1] ?? 1) - from
        Object.assign(chip.style, {left: `${100 * from}%`, maxWidth: `calc(${100 * wide}% - 12px)`})
        for (let side = 0; side < 4; side++) {
          const letter = pane.letters[4 * k + side] ??= element(pane.el, "b", "letter")
          const along = side == 0 ? "8px" : side == 1 ? `${100 * wide}% - 10px` : `${50 * wide}%`
          put_text(letter, letters[k]?.[side] ?? "")
          Object.assign(letter.style, {left: `calc(${100 * from}% + ${along})`, top: ["50%", "50%", "10px", "calc(100% - 10px)"][side]})
        }
      })
    }

    words(frame) {
      const words = [`step ${frame.step}`]
      if (frame.score != null) words.push(`score ${number_text(frame.score)}`)
      return words
    }

    describe(frames) {
      const there = frames.filter((frame) => frame != null)
      this.stage.classList.toggle("filled", there.length > 0)
      put_text(this.placeholder, this.model.placeholder)
      const said = there.map((frame) => this.words(frame).join(", ")).join("; beside it ")
      put_attribute(this.stage, "aria-label", [this.model.description || "The chosen picture", said].filter((s) => s != "").join(": "))
    }

    painted() {
      const {model} = this
      model.paints += 1
      if (this.asked == null) return
      const asked = this.asked
      this.asked = null
      setTimeout(() => remember(model.timings, performance.now() - asked))
    }
  }
  register(UnitFilm, "UnitFilm", UnitFilmView, ({Bytes, Int, Str, Float, List, Enum, Nullable}) => ({
    film_id: [Str, ""], chunk: [Bytes, () => new ArrayBuffer(0)], chunk_steps: [List(Int), []], chunk_sizes: [List(Int), []],
    chunk_scores: [List(Float), []], keep: [List(Int), []], tick: [Int, 0],
    live: [Bytes, () => new ArrayBuffer(0)], live_step: [Int, -1], live_score: [Nullable(Float), null],
    step: [Int, 0], compare: [Nullable(Int), null],
    smoothing: [Enum("auto", "smooth", "pixelated"), "auto"], anchor: [Enum("start", "center"), "center"],
    parts: [List(Str), []], edges: [List(Float), []], letters: [List(Str), []],
    description: [Str, ""], placeholder: [Str, ""],
  }))

  // ---- models without a picture: they act, and take no room ------------------------------------------------------

  class ActorView extends LayoutDOMView {
    get child_models() { return [] }
    stylesheets() { return [...super.stylesheets(), ":host { display: none !important; }"] }
    remove() { this.model.stop?.(); super.remove() }
  }

  class Player extends LayoutDOM {
    initialize() {
      super.initialize()
      this.writing = false
      this.request = null
    }

    connect_signals() {
      super.connect_signals()
      const p = this.properties
      this.connect(p.following.change, () => { if (this.following) this.follow() })
      this.connect(this.film.changed, () => { if (this.following && !this.toggle?.active) this.follow() })
      this.connect(this.slider.properties.value.change, () => { this.slid() })
      if (this.toggle != null) this.connect(this.toggle.properties.active.change, () => { this.switched() })
      this.film.step = this.slider.value
    }

    switched() {
      const {active} = this.toggle
      this.toggle.label = active ? "❚❚" : "▶"
      if (active) this.start()
      else this.stop()
    }

    follow() { if (this.film.newest >= 0) this.write(this.film.newest) }

    /** Moves the slider on the player's own account: what follows goes on following. */
    write(step) {
      this.writing = true
      try {
        if (step > this.slider.end) this.slider.end = step
        this.slider.value = Math.max(this.slider.start, step)
        this.film.step = step
      } finally {
        this.writing = false
      }
    }

    slid() {
      const {value} = this.slider
      this.film.step = value
      if (this.writing) return
      if (this.film.newest >= 0) this.following = value >= this.film.newest
      this.clock = null
    }

    /** Goes n kept pictures on (or back). */
    nudge(n) {
      const {steps} = this.film
      if (steps.length == 0) return
      const last = steps.findLastIndex((step) => step <= this.slider.value)
      this.slider.value = steps[Math.max(0, Math.min(steps.length - 1, last + n))]
    }

    start() {
      if (this.request != null) return
      if (this.following) this.following = false
      this.clock = null
      const turn = (now) => {
        this.request = requestAnimationFrame(turn)
        this.advance(now)
      }
      this.request = requestAnimationFrame(turn)
    }

    stop() {
      if (this.request != null) cancelAnimationFrame(this.request)
      this.request = null
    }

    advance(now) {
      const {steps} = this.film
      if (steps.length < 2) return
      if (this.clock == null) {
        const at = Math.max(0, steps.findLastIndex((step) => step <= this.slider.value))
        this.clock = {start: now - (at == steps.length - 1 ? steps.length + this.rest : at) * this.period}
      }
      const turns = (now - this.clock.start) / this.period, length = steps.length + this.rest
      if (turns >= length && !this.loop) {
        this.write(steps.at(-1))
        this.toggle.active = false
        return
      }
      // A film rests on its last picture before it starts anew.
      this.write(steps[Math.min(steps.length - 1, Math.floor(turns % length))])
    }

    get period() { return 1000 / Math.max(0.1, this.rate) }
    get rest() { return Math.ceil(0.6 * this.rate) }
  }
  register(Player, "Player", ActorView, ({Bool, Float, AnyRef, Nullable}) => ({
    film: [AnyRef()], slider: [AnyRef()], toggle: [Nullable(AnyRef()), null],
    rate: [Float, 15], loop: [Bool, true], following: [Bool, true],
  }))

  const TYPING = "input, textarea, select, [contenteditable]:not([contenteditable=false]), dialog[open]"
  const PRESSED = "button, a[href], summary, [role=button], [role=switch], [role=checkbox], [role=tab], .bk-tab"
  const STEERED = "[role=slider], [role=grid], [role=menu], [role=tree], [role=combobox], .slick-viewport, .bk-header"

  class KeysView extends ActorView {
    connect_signals() {
      super.connect_signals()
      this.listener = (event) => { if (this.model.press(event)) event.preventDefault() }
      document.addEventListener("keydown", this.listener)
    }
    remove() {
      document.removeEventListener("keydown", this.listener)
      super.remove()
    }
  }

  class Keys extends LayoutDOM {
    step(by) {
      if (this.player != null) this.player.nudge(by)
      else this.step_count += by
    }

    /** Acts on a key that nobody else is listening for; tells whether it did. */
    press(event) {
      const inside = (selector) => event.composedPath().some((el) => el.matches?.(selector))
      if (!this.active || event.defaultPrevented || event.isComposing || inside(TYPING)) return false
      // `[` and `]` need AltGr, which some systems report as Ctrl + Alt, on many European keyboards.
      if (event.metaKey || ((event.ctrlKey || event.altKey) && !event.getModifierState("AltGraph"))) return false
      switch (event.key) {
        case "[": this.step(-1); return true
        case "]": this.step(1); return true
        case " ":
          if (inside(PRESSED) || event.repeat) return false
          this.pause_count += 1
          return true
        default:
          if (this.mosaic == null || !event.key.startsWith("Arrow") || inside(STEERED)) return false
          return this.mosaic.move(event)
      }
    }
  }
  register(Keys, "Keys", KeysView, ({Bool, Int, AnyRef, Nullable}) => ({
    active: [Bool, true], pause_count: [Int, 0], step_count: [Int, 0], mosaic: [Nullable(AnyRef()), null], player: [Nullable(AnyRef()), null],
  }))

  class DownloadView extends ActorView {
    connect_signals() {
      super.connect_signals()
      this.connect(this.model.properties.tick.change, () => { this.save() })
    }
    save() {
      const {data, filename, mime, tick} = this.model
      const url = URL.createObjectURL(new Blob([data], {type: mime}))
      const link = element(document.body, "a", "", {href: url, download: filename})
      link.click()
      link.remove()
      // The browser reads the address after the click: it may be withdrawn only later.
      setTimeout(() => URL.revokeObjectURL(url), 60_000)
      this.model.ack = tick
    }
  }
  class Download extends LayoutDOM {}
  register(Download, "Download", DownloadView, ({Bytes, Int, Str}) => ({
    data: [Bytes, () => new ArrayBuffer(0)], filename: [Str, "vislib"], mime: [Str, "application/octet-stream"],
    tick: [Int, 0], ack: [Int, 0],
  }))

  class AddressBarView extends ActorView {
    connect_signals() {
      super.connect_signals()
      this.connect(this.model.properties.query.change, () => { this.write() })
    }
    render() {
      super.render()
      this.write()
    }
    write() {
      const {query} = this.model
      if (query != "" && query != location.search) history.replaceState(history.state, "", query + location.hash)
    }
  }
  class AddressBar extends LayoutDOM {}
  register(AddressBar, "AddressBar", AddressBarView, ({Str}) => ({query: [Str, ""]}))

  const {register_models} = Bokeh.require("base")
  register_models([Mosaic, UnitFilm, Player, Keys, Download, AddressBar])

  // The other files of this folder are loaded before BokehJS (`__javascript__` of their Python models) and leave functions.
  const kit = {
    LayoutDOM, LayoutDOMView, Signal0, StageView, TYPING, register, register_models,
    element, place, put_text, put_attribute, number_text, to_blob, fit_canvas, choose_smoothing,
  }
  for (const part of globalThis.vislib_parts ?? []) part(kit)
})()
