// SliceStrip: thumbnails along one axis of a volume and how strong the map is in each slice; documented in dashboard/slice_strip.py.
(globalThis.vislib_parts ??= []).push((kit) => {
  "use strict"
  const {LayoutDOM, StageView, register, register_models, element, put_text, put_attribute, fit_canvas, number_text} = kit
  const {LETTERS, PLANES, Sheet, clamp, cropped, layer_of, lie, own_place, thinned, to_mm} = kit  // of planes.js
  const {minus, tenths} = kit  // of volume_facts.js
  const {at_leisure} = kit     // of volume_model.js

  const SIDE = 18, BARS = 24, GAP = 3, BETWEEN = 2   // pixels beside, below and between the thumbnails
  const NARROWEST = 56, WIDEST = 72
  const PAUSE = 200                                  // ms between two redraws
  const SAMPLES = 1e6                                // voxels looked at to find what is empty ...
  const FULL = .1, SOME = .005                       // ... which has less than this share above this share of the window
  const STRONG = .5                                  // of the map's largest value: slices that are never left out

  const CSS = `
    .stage { cursor: pointer; touch-action: none; user-select: none; border-radius: 3px; }
    .stage:not(.filled) { cursor: default; background: var(--sunken, #eceef1); }
    .stage:not(.filled) > :not(.placeholder) { display: none; }
    .stage:focus-visible { outline: none; }
    .stage:focus-visible::after { content: ""; position: absolute; inset: 0; border-radius: 3px; box-shadow: inset 0 0 0 2px var(--accent, #0b7a6b); pointer-events: none; }
    .inner { position: absolute; inset: 0 ${SIDE}px; contain: strict; }
    .letter { position: absolute; top: 0; bottom: ${BARS + GAP}px; width: ${SIDE}px; display: flex; align-items: center; justify-content: center;
      color: var(--quiet, #5b6572); font: 650 12px/1 var(--bokeh-base-font, sans-serif); }
    .letter:last-of-type { right: 0; }
    svg { position: absolute; left: 0; bottom: 0; width: 100%; height: ${BARS}px; border-bottom: 1px solid var(--line, #d8dce2); box-sizing: border-box; }
    path { fill: var(--accent, #0b7a6b); } path.weak { opacity: .38; }
    path.chance { fill: none; stroke: var(--warm, #9a5b00); stroke-width: 1.5px; vector-effect: non-scaling-stroke; }
    .mark, .aim { position: absolute; left: 0; top: 0; bottom: 0; width: 2px; margin-left: -1px; pointer-events: none; will-change: transform; }
    .mark { background: var(--accent, #0b7a6b); box-shadow: 0 0 0 1px var(--surface, #fff); }
    .aim { background: var(--quiet, #5b6572); opacity: .7; }
    .tip { left: 0; top: 2px; }
    .legend { position: absolute; left: 1px; bottom: ${BARS - 11}px; color: var(--warm, #9a5b00); font: 600 10px/11px var(--bokeh-base-font, sans-serif);
      pointer-events: none; background: var(--surface, #fff); padding: 0 3px; border-radius: 2px; }
    .legend:empty { display: none; }
    [hidden] { display: none; }`

  // ---- what is worth showing: generators that stop now and then -------------------------------------------------

  /** First and last slice along each axis that are not empty of values above one. */
  function* filled({codes, shape, strides}, above) {
    const every = Math.max(1, Math.floor(Math.cbrt(codes.length / SAMPLES))), sizes = shape.map((size) => Math.ceil(size / every))
    const counts = sizes.map((size) => new Uint32Array(size))
    for (let x = 0; x < sizes[0]; x++, yield) {
      for (let y = 0; y < sizes[1]; y++) {
        const from = every * (x * strides[0] + y * strides[1])
        for (let z = 0; z < sizes[2]; z++) {
          if (codes[from + every * z] <= above) continue
          counts[0][x] += 1
          counts[1][y] += 1
          counts[2][z] += 1
        }
      }
    }
    return counts.map((found, axis) => {
      const least = SOME * sizes.reduce((product, size) => product * size, 1) / sizes[axis]
      const first = found.findIndex((count) => count > least), last = found.findLastIndex((count) => count > least)
      return first < 0 ? [0, shape[axis] - 1] : [first * every, Math.min(shape[axis], (last + 1) * every) - 1]
    })
  }

  /** The largest value of a map, or the largest |value| of a signed one, in each slice along each axis. */
  function* strengths({map, shape: [nx, ny, nz]}, {map_low, map_high, signed}) {
    const most = [nx, ny, nz].map((size) => new Float32Array(size)), step = (map_high - map_low) / 65534, zero = 1 - map_low / step
    for (let x = 0, at = 0; x < nx; x++, yield) {
      for (let y = 0; y < ny; y++) {
        let row = 0
        for (let z = 0; z < nz; z++, at++) {
          const code = map[at], over = code - zero, size = over >= 0 ? over : signed && code > 0 ? -over : 0
          if (size > most[2][z]) most[2][z] = size
          if (size > row) row = size
        }
        if (row > most[1][y]) most[1][y] = row
        if (row > most[0][x]) most[0][x] = row
      }
    }
    for (const one of most) one.forEach((size, at) => { one[at] = size * step })
    return most
  }

  function percent(share) {
    return share >= .9995 ? "> 99.9 %" : share >= .0005 ? `${(100 * share).toFixed(1)} %` : "< 0.1 %"
  }

  // ---- SliceStrip -----------------------------------------------------------------------------------------------

  class SliceStripView extends StageView {
    initialize() {
      super.initialize()
      this.sheet = new Sheet()
      this.work = null         // the generator that is at it
      this.dirty = false       // whether it is to begin anew
      this.last = -Infinity    // when it ended
      this.drawn = ""          // what is on the canvas
      this.span = null         // which slices those are
      this.back = document.createElement("canvas")  // where thumbnails are drawn until all are there
      this.parts = new Map()   // what was found out about the volume and the map, each by its bytes
      this.hovered = null
      this.measured = null     // the box, kept: asking for it would have the page laid out for every move of the marker
      this.ruler = new ResizeObserver(([{contentRect: {width, height}}]) => {
        this.measured = {width: Math.round(width), height: Math.round(height)}
        this.request()
      })
    }

    get box() { return this.measured ?? super.box }

    connect_signals() {
      super.connect_signals()
      const {model} = this, p = model.view.properties
      this.on_change([p.i, p.j, p.k, model.properties.placeholder, model.properties.description], () => this.request())
      const looks = [p.tick, p.stale, p.window_low, p.window_high, p.palette, p.opacity, p.threshold, p.alpha_by_value, p.map_palette,
                     p.diverging, p.show_map, p.radiological, p.plane, model.properties.plane]
      this.on_change(looks, () => {
        this.refresh()
        this.request()
      })
    }

    stylesheets() { return [...super.stylesheets(), CSS] }

    remove() {
      clearTimeout(this.timer)
      this.ruler.disconnect()
      this.work = null
      super.remove()
    }

    furnish() {
      Object.assign(this.stage, {tabIndex: 0})
      this.inner = element(this.stage, "div", "inner")
      this.letters = [0, 1].map(() => element(this.stage, "span", "letter"))
      this.canvas = element(this.inner, "canvas")
      const make = (parent, tag) => parent.appendChild(document.createElementNS("http://www.w3.org/2000/svg", tag))
      this.bars = make(this.inner, "svg")
      this.bars.setAttribute("preserveAspectRatio", "none")
      this.paths = ["strong", "weak"].map((name) => {
        const path = make(this.bars, "path")
        path.setAttribute("class", name)
        return path
      })
      this.chance = make(this.bars, "path")
      this.chance.setAttribute("class", "chance")
      this.legend = element(this.inner, "span", "legend")
      this.aim = element(this.inner, "div", "aim")
      this.mark = element(this.inner, "div", "mark")
      this.tip = element(this.inner, "span", "chip tip")
      this.drawn = ""
      this.ruler.disconnect()
      this.ruler.observe(this.stage)
      this.listen()
      this.refresh()
    }

    get held() {
      const {held} = this.model.view
      return held?.grid == null ? null : held
    }

    /** The plane that is to be shown; until it is drawn the old one stays. */
    get wanted() {
      const wanted = this.model.plane || this.model.view.plane || "axial"
      return PLANES.find(({name}) => name == wanted)
    }

    get at() { return this.model.view.ijk[this.span.plane.across] }

    /** mm along the axis across a plane in the middle of a slice. */
    mm(at, {across} = this.span.plane) {
      const {grid} = this.held, middle = grid.shape.map((size) => (size - 1) / 2)
      middle[across] = at
      return to_mm(grid, middle)[across]
    }

    // ---- painting

    /** What is at its place at once: all but the thumbnails and the bars. */
    repaint() {
      const {width, height} = this.box
      if (width == 0 || height == 0) return
      const {held} = this, ready = held != null && this.span?.of == held.grid.shape.join()
      this.stage.classList.toggle("filled", ready)
      put_text(this.placeholder, held == null ? this.model.placeholder : "")
      if (this.shown != `${width} ${height}`) this.refresh()
      if (ready) {
        this.mark.style.transform = `translateX(${this.place_of(this.at).toFixed(1)}px)`
        LETTERS[this.span.plane.across].forEach((letter, end) => put_text(this.letters[end], letter))
        this.point()
      }
      this.words(ready)
    }

    words(ready) {
      const {model, stage} = this, {across, name} = ready ? this.span.plane : this.wanted
      put_attribute(stage, "role", ready ? "slider" : "img")
      const said = [model.description || `Strip of ${name} slices`]
      if (!ready) said.push(model.placeholder)
      else {
        const most = this.strongest
        if (most != null) said.push(`the map is strongest in ${this.name_of(most)}`)
        const chance = this.chances?.[this.at]
        if (Number.isFinite(chance)) said.push(`${this.held.probability_name} here ${percent(chance)}`)
        const values = {min: 0, max: this.held.grid.shape[across] - 1, now: this.at, text: this.name_of(this.at)}
        for (const [key, value] of Object.entries(values)) put_attribute(stage, `aria-value${key}`, value)
      }
      put_attribute(stage, "aria-label", said.filter((one) => one != "").join(": "))
    }

    name_of(at) {
      const {across} = this.span.plane, own = own_place(this.held.grid, across, at)
      return `${own == null ? "" : `${own.letter} ${own.at}, `}${"xyz"[across]} ${tenths(this.mm(at))} mm`
    }

    get room() { return Math.max(1, this.box.width - 2 * SIDE) }

    /** Where the middle of a slice is. */
    place_of(at) {
      const {first, last} = this.span
      return clamp((at - first + .5) / (last - first + 1), 0, 1) * this.room
    }

    slice_at(x) {
      const {first, last} = this.span
      return clamp(Math.floor(first + x / this.room * (last - first + 1)), first, last)
    }

    // ---- thumbnails and bars, when the browser has nothing else to do

    refresh() {
      this.dirty = true
      if (this.timer != null || this.work != null) return
      this.timer = setTimeout(() => {
        this.timer = null
        this.dirty = false
        const work = this.work = this.redraw()
        at_leisure(work, () => this.work === work, (done, ms) => {
          this.model.pieces.push(ms)
          if (this.model.pieces.length > 512) this.model.pieces.shift()
          if (!done) return
          this.work = null
          this.last = performance.now()
          if (this.dirty) this.refresh()
        })
      }, Math.max(0, this.last + PAUSE - performance.now()))
    }

    /** What was found out about an array, found out again only for other bytes or another key. */
    *known(which, array, key, find) {
      const old = this.parts.get(which)
      if (old?.array?.buffer === array?.buffer && old?.key == key) return old.found
      const found = array == null ? null : yield* find()
      this.parts.set(which, {array, key, found})
      return found
    }

    *redraw() {
      const {held, wanted: plane, model: {view}} = this, {width, height} = this.box
      if (held == null) this.parts.clear()
      if (held == null || width == 0 || height == 0) return
      this.shown = `${width} ${height}`
      const {array, grid} = held, above = this.empty_below(), {volume_colours: volume, map_colours: map} = view
      const inside = yield* this.known("filled", array.codes, String(array.shape), () => filled(array, above))
      const meaning = [array.shape, held.signed, held.map_low, held.map_high].join()
      const strong = held.labels != null ? null : yield* this.known("strengths", array.map, meaning, () => strengths(array, held))
      const span = this.spanned(held, plane, inside[plane.across], strong?.[plane.across] ?? null)
      const cells = this.cells(held, span, inside, plane.columns == 0 && view.radiological)
      const key = [array.id, plane.name, volume.key, map?.key, ...Object.values(cells), this.shown].join()
      if (key != this.drawn) {
        const context = this.back.getContext("2d"), ratio = window.devicePixelRatio || 1
        fit_canvas(this.back, this.room, cells.height)
        context.setTransform(ratio, 0, 0, ratio, 0, 0)
        context.clearRect(0, 0, this.room, cells.height)
        for (let n = 0; n < cells.count; n++, yield) {
          if (this.held == null) return  // it was taken away between two pieces
          this.draw(context, held, span, cells, n, volume.table, map)
        }
        if (this.held?.grid.shape.join() != grid.shape.join()) return  // another volume: it has asked for its own
        fit_canvas(this.canvas, this.room, cells.height)
        const front = this.canvas.getContext("2d")
        front.clearRect(0, 0, this.canvas.width, this.canvas.height)
        front.drawImage(this.back, 0, 0)
        this.drawn = key
        this.model.draws += 1
      }
      this.span = span
      this.draw_bars(map == null || strong == null ? null : strong[plane.across])
      this.draw_chance()
      this.request()
    }

    /** The code of the volume above which there is something. */
    empty_below() {
      const {window_low, window_high, held: {array, value_low, value_high}} = this.model.view
      const value = window_low + FULL * (window_high - window_low), largest = array.codes instanceof Uint8Array ? 255 : 65535
      return (value - value_low) / (value_high - value_low) * largest
    }

    /** First and last slice of the grid that are shown: those with something in them, and those where the map is strong. */
    spanned({array: {step}, grid: {shape}, limit}, plane, [first, last], strong) {
      if (strong != null) {
        const least = STRONG * Math.max(...strong), shown = (size) => size > 0 && size >= least
        const from = strong.findIndex(shown), to = strong.findLastIndex(shown)
        if (from >= 0) [first, last] = [Math.min(first, from), Math.max(last, to)]
      }
      return {of: shape.join(), plane, first: first * step, last: Math.min(shape[plane.across] - 1, last * step + step - 1), step, strong, limit}
    }

    get strongest() {
      const {strong, step} = this.span
      if (strong == null || !this.model.view.show_map) return null
      const most = Math.max(...strong)
      return most > 0 ? strong.indexOf(most) * step : null
    }

    draw_bars(strong) {
      const {first, last, step, limit} = this.span, {threshold} = this.model.view, said = ["", ""]
      const most = strong == null ? 0 : Math.max(...strong)
      if (most > 0) {
        for (let n = first / step; n * step <= last; n++) {
          const left = n * step - first, top = (1 - strong[n] / most).toFixed(4)
          if (strong[n] > 0) said[strong[n] >= threshold * limit ? 0 : 1] += `M${left} 1V${top}H${Math.min(left + step, last - first + 1)}V1Z`
        }
      }
      put_attribute(this.bars, "viewBox", `0 0 ${last - first + 1} 1`)
      this.paths.forEach((path, n) => put_attribute(path, "d", said[n]))
    }

    /** The patient's side at the left and right of a thumbnail. */
    letter(context, x, room, height, {columns}, flip) {
      const [low, high] = LETTERS[columns], sides = flip ? [high, low] : [low, high]
      Object.assign(context, {font: `600 9px ${getComputedStyle(this.stage).fontFamily}`, fillStyle: "#c9d2da", shadowColor: "#000", shadowBlur: 3})
      context.textBaseline = "middle"
      sides.forEach((side, end) => {
        context.textAlign = ["left", "right"][end]
        context.fillText(side, end == 0 ? x + 2 : x + room - BETWEEN - 2, height / 2)
      })
      Object.assign(context, {textBaseline: "alphabetic", textAlign: "left"})
    }

    /** The probabilities of the slices that are shown; null where there are none of this plane. */
    get chances() {
      const {held, span} = this, {view} = this.model
      if (held == null || span == null || !view.show_map || held.array.map == null || span.plane.name != view.plane) return null
      return held.probabilities.length == held.grid.shape[span.plane.across] ? held.probabilities : null
    }

    /** A line through the probability of each slice, from the bottom (0) to the top (1) of the bars. */
    draw_chance() {
      const {chances} = this, {first, last} = this.span
      let said = ""
      if (chances != null) {
        for (let at = first, pen = "M"; at <= last; at++) {
          const chance = chances[at]
          if (!Number.isFinite(chance)) pen = "M"
          else {
            const top = (1 - clamp(chance, 0, 1)).toFixed(4)
            said += `${pen}${at - first} ${top}H${at - first + 1}`
            pen = "L"
          }
        }
      }
      put_attribute(this.chance, "d", said)
      put_text(this.legend, chances == null ? "" : `${this.held.probability_name}, 0 to 1`)
    }

    /** How many thumbnails there are, their room, and what is cut of each: the rectangle outside of which all slices are empty. */
    cells({grid: {voxel}, array: {step}}, {plane: {columns, rows}, first, last}, inside, flip) {
      const [left, right] = inside[columns], [bottom, top] = inside[rows]
      const wide = (right - left + 1) * step * voxel[columns], high = (top - bottom + 1) * step * voxel[rows]
      const height = Math.max(8, this.box.height - BARS - GAP), fitting = clamp(height * wide / high, NARROWEST, WIDEST)
      const count = clamp(Math.round(this.room / fitting), 1, last - first + 1), room = this.room / count
      const scale = Math.min((room - BETWEEN) / wide, height / high)
      return {first, last, count, room, height, left, right, bottom, top, wide: wide * scale, high: high * scale, flip}
    }

    draw(context, {array}, {plane, first, last}, {count, room, height, left, right, bottom, top, wide, high, flip}, n, table, map) {
      const at = Math.floor(first + (n + .5) / count * (last - first + 1))
      const whole = cropped(layer_of(array, plane, at), left, right, bottom, top)
      const layer = thinned(whole, Math.max(1, Math.floor(whole.width / wide / (window.devicePixelRatio || 1))))
      this.sheet.cut(layer, flip, table, map?.weights)
      const x = n * room, [across, along] = [wide / whole.width, high / whole.height]
      const box = lie({...layer, step: layer.step / whole.step}, whole.width, whole.height, flip)
      context.save()
      context.beginPath()
      context.rect(x, 0, room - BETWEEN, height)
      context.clip()
      context.fillStyle = "#000"
      context.fillRect(x, 0, room - BETWEEN, height)
      context.imageSmoothingQuality = "medium"
      const left_of = x + (room - BETWEEN - wide) / 2 + box[0] * across, above = (height - high) / 2 + box[1] * along
      context.drawImage(this.sheet.canvas, left_of, above, box[2] * across, box[3] * along)
      if (map?.labels != null && layer.map != null) {
        this.sheet.cut({...layer, codes: layer.map}, flip, map.table)
        context.imageSmoothingEnabled = false
        context.drawImage(this.sheet.canvas, left_of, above, box[2] * across, box[3] * along)
      }
      this.letter(context, x, room, height, plane, flip)
      Object.assign(context, {font: `10px ${getComputedStyle(this.stage).fontFamily}`, fillStyle: "#eef2f5", shadowColor: "#000", shadowBlur: 3})
      for (let twice = 0; twice < 2; twice++) context.fillText(minus(Math.round(this.mm(at, plane)).toString()), x + 3, height - 4)
      context.restore()
    }

    // ---- pointer and keys

    listen() {
      const {stage} = this
      const where = ({clientX}) => this.slice_at(clientX - this.inner.getBoundingClientRect().left)
      const go = (event) => this.model.view.move({[this.span.plane.across]: where(event)})
      const end = () => {
        if (!this.dragged) return
        this.dragged = false
        this.model.view.tell()
      }
      stage.addEventListener("pointerdown", (event) => {
        if (event.button != 0 || !this.usable) return
        stage.setPointerCapture(event.pointerId)
        this.dragged = true
        go(event)
      })
      stage.addEventListener("pointermove", (event) => {
        if (!this.usable) return
        this.hovered = where(event)
        if (this.dragged) go(event)
        this.point()
      })
      stage.addEventListener("pointerleave", () => {
        this.hovered = null
        this.point()
      })
      for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, end)
      stage.addEventListener("keydown", (event) => { if (this.press(event)) event.preventDefault() })
    }

    get usable() { return this.stage.classList.contains("filled") }

    /** The line and the words at the pointer. */
    point() {
      const {hovered: at} = this, {strong, step} = this.span ?? {}
      this.aim.hidden = this.tip.hidden = at == null || this.held == null
      if (at == null || this.held == null) return
      const x = this.place_of(at), value = strong?.[Math.floor(at / step)]
      const said = [this.name_of(at)], chance = this.chances?.[at]
      if (value != null && this.model.view.show_map) said.push(`map ${minus(number_text(value))}`)
      if (Number.isFinite(chance)) said.push(`${this.held.probability_name} ${percent(chance)}`)
      put_text(this.tip, said.join(" · "))
      this.aim.style.transform = `translateX(${x.toFixed(1)}px)`
      this.tip.style.transform = `translateX(${clamp(x + 6, 0, Math.max(0, this.room - this.tip.offsetWidth)).toFixed(1)}px)`
    }

    press({key, shiftKey, ctrlKey, altKey, metaKey}) {
      if (shiftKey || ctrlKey || altKey || metaKey || !this.usable) return false
      const {first, last} = this.span, by = {ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10}[key]
      const wanted = by != null ? this.at + by : {Home: first, End: last}[key]
      if (wanted == null) return false
      this.model.view.move({[this.span.plane.across]: wanted})
      return true
    }
  }

  class SliceStrip extends LayoutDOM {
    initialize() {
      super.initialize()
      this.draws = 0    // of all thumbnails: for tests and measurements ...
      this.pieces = []  // ... and ms of each piece of work that was not interrupted, the newest 512
    }
  }
  register(SliceStrip, "SliceStrip", SliceStripView, ({AnyRef, Str}) => ({
    view: [AnyRef()], plane: [Str, ""], placeholder: [Str, ""], description: [Str, ""],
  }), "dashboard.slice_strip")
  SliceStrip.override({height: 96})

  register_models([SliceStrip])
})
