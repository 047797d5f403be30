// VolumeView: a volume's three planes and the facts about them; its properties are documented in dashboard/volume_view.py.
(globalThis.vislib_parts ??= []).push((kit) => {
  "use strict"
  const {StageView, register, register_models, element, put_text, put_attribute} = kit
  const {INDICES, PANE_CSS, PLANES, Pane, clamp, nice_length} = kit  // of planes.js
  const {FACTS_CSS, Facts} = kit  // of volume_facts.js
  const {VolumeModel} = kit  // of volume_model.js

  const GAP = 3, MARGIN = 19, FACTS = {width: 292, height: 284}, LARGEST_ZOOM = 32
  const NOTCH = 60, CREEP = 30                // pixels of a wheel that turns by notches, and of one that does not, for a slice
  const TWICE = 150, LEVEL = 300              // pixels of a drag that doubles the window, or moves it by its width
  const EMPTY = () => new ArrayBuffer(0)

  const CSS = `
    .stage { display: grid; gap: ${GAP}px; }
    .stage:not(.filled) > .pane, .stage:not(.filled) .facts > * { visibility: hidden; }
    .stage:not(.filled) { background: var(--sunken, #eceef1); border-radius: 3px; }
    .stage.filled .bone { animation: none; }
    .progress { position: absolute; z-index: 1; left: 0; right: 0; top: 0; height: 3px; background: rgba(127, 127, 127, .6); }
    .progress > div { height: 100%; background: var(--accent, #0b7a6b); transition: width .15s linear; }
    [hidden] { display: none !important; }`

  // ---- VolumeView -----------------------------------------------------------------------------------------------

  class VolumeViewView extends StageView {
    initialize() {
      super.initialize()
      this.seen = null         // the shape of the grid that is shown
      this.unpainted = null    // the tick of an update, until it is painted
      this.since = null        // when the event came that is being answered
      this.asked = null        // when what is not painted yet was asked for
      this.gesture = null
      this.turn = 0            // pixels that the wheel has turned since the last slice
      this.sight = {zoom: 1, centre: [0, 0, 0]}
    }

    connect_signals() {
      super.connect_signals()
      const {model} = this, p = model.properties
      this.connect(p.tick.change, () => { this.take() })
      this.on_change([p.stale, p.sharp, p.plane, p.progress, p.title, p.placeholder, p.description], () => this.request())
      this.on_change([p.i, p.j, p.k], () => { this.moved = true })
      const looks = [p.i, p.j, p.k, p.window_low, p.window_high, p.palette, p.smooth, p.opacity, p.threshold, p.alpha_by_value,
                     p.map_palette, p.diverging, p.show_map, p.radiological]
      this.on_change(looks, () => {
        this.asked ??= this.since ?? performance.now()
        this.request()
      })
    }

    stylesheets() { return [...super.stylesheets(), PANE_CSS, FACTS_CSS, CSS] }

    remove() {
      this.model.tell()
      super.remove()
    }

    furnish() {
      this.stage.setAttribute("role", "group")
      this.panes = PLANES.map((plane) => new Pane(this.stage, plane))
      this.facts = new Facts(this.stage, {
        turn: () => { this.model.radiological = !this.model.radiological },
        move: (ijk, since) => this.move(ijk, since),
        rest: () => this.model.tell(),
      })
      this.progress = element(this.stage, "div", "progress")
      element(this.progress, "div")
      for (const pane of this.panes) this.listen(pane)
      if (this.held != null && this.seen == null) this.take()
    }

    // ---- updates

    get held() { return this.model.held }

    take() {
      const {grid, tick} = this.held
      if (grid != null && grid.shape.join() != this.seen) this.centre(grid)
      this.seen = grid?.shape.join() ?? ""
      this.unpainted = tick
      this.request()
    }

    /** Zooms out and looks at the middle of all planes. */
    centre(grid) { this.sight = {zoom: 1, centre: grid.shape.map((size) => (size - 1) / 2)} }

    // ---- painting

    repaint() {
      const {width, height} = this.box, {held} = this
      if (width == 0 || height == 0) return  // hidden: painted and acknowledged when it is seen again
      this.lay_out(width, height)
      const scene = this.scene = held?.grid == null ? null : this.make_scene()
      if (scene != null) {
        if (this.moved && this.gesture == null) this.follow()
        this.moved = false
        for (const pane of this.panes) pane.paint(scene)
        this.facts.say({model: this.model, scene, notes: this.notes()})
      }
      this.words()
      this.painted()
    }

    painted() {
      const {asked, unpainted: tick} = this
      this.asked = this.unpainted = null
      if (asked != null) setTimeout(() => this.model.remember(performance.now() - asked))
      if (tick == null) return
      this.model.paints += 1
      setTimeout(() => { if (!this.is_destroyed) this.model.ack = tick })
    }

    /** Columns and rows that show all planes at one scale, as large as the box allows and the facts can be read. */
    lay_out(width, height) {
      const [x, y, z] = this.held?.grid?.extent ?? [1, 1, 1], margins = 2 * MARGIN
      const split = (room, one, other, least) => {
        const shares = margins + (room - 2 * margins) * one / (one + other)
        return Math.round(clamp(shares, Math.min(margins + 40, room / 2), Math.max(room / 2, room - least)))
      }
      const left = split(width - GAP, x, y, FACTS.width), top = split(height - GAP, z, y, FACTS.height)
      const right = width - GAP - left, bottom = height - GAP - top
      const scale = Math.min((left - margins) / x, (right - margins) / y, (top - margins) / z, (bottom - margins) / y)
      Object.assign(this.stage.style, {gridTemplateColumns: `${left}px ${right}px`, gridTemplateRows: `${top}px ${bottom}px`})
      const boxes = {coronal: [left, top], sagittal: [right, top], axial: [left, bottom]}
      for (const pane of this.panes) [pane.width, pane.height] = boxes[pane.plane.name]
      this.fitted = Math.max(scale, 1e-3)  // CSS pixels a mm
    }

    make_scene() {
      const {held, model} = this, {dimmed, ijk, radiological, smooth, plane: input, volume_colours: volume, map_colours: map} = model
      return {
        ijk, radiological, smooth, input, volume, map, grid: held.grid, sight: this.scaled(), faint: dimmed && held.array.map != null,
        layer: (plane, at) => model.layer(plane, at), values: model.values_at(ijk),
      }
    }

    /** What the panes need of the sight: its centre, pixels a mm, and the mm of a scale bar that suits all of them. */
    scaled() {
      const {zoom, centre} = this.sight, scale = this.fitted * zoom
      return {centre, scale, bar: nice_length(.3 * Math.min(...this.panes.map((pane) => pane.width)) / scale)}
    }

    words() {
      const {model, held} = this, filled = this.scene != null
      this.stage.classList.toggle("filled", filled)
      for (const pane of this.panes) pane.el.classList.toggle("bone", !filled)
      put_text(this.placeholder, [model.placeholder, ...held?.trouble ?? []].filter((one) => one != "").join(" · "))
      this.progress.hidden = model.progress >= 1
      this.progress.firstChild.style.width = `${100 * model.progress}%`
      const said = [model.description || model.title || "A volume in three planes", ...filled ? this.notes() : []]
      if (filled && this.scene.faint) said.push("the map is being updated")
      if (!filled) said.push(model.placeholder)
      put_attribute(this.stage, "aria-label", said.filter((one) => one != "").join(": "))
    }

    notes() {
      const {held} = this, notes = [...held.trouble]
      if (held.array.map != null && held.labels == null && held.limit <= 0) notes.push(held.signed ? "the map is zero everywhere" : "the map is nowhere above 0")
      if (held.array.step > 1) notes.push(`drawn in steps of ${held.array.step} voxels until the crosshair rests`)
      if (held.grid.tilt > 2) notes.push(`planes follow the voxels, ${held.grid.tilt.toFixed(0)}° from the patient’s axes`)
      return notes
    }

    // ---- sight

    frame_of(pane) { return pane.frame({...this.scene, flip: pane.flipped(this.model.radiological)}) }

    /** Moves what is seen so that no pane has lost the crosshair. */
    follow() {
      for (const pane of this.panes) {
        const [x, y] = pane.place_of(this.scene.ijk, this.frame_of(pane))
        if (x < 0 || x > pane.width) this.sight.centre[pane.columns] = this.scene.ijk[pane.columns]
        if (y < 0 || y > pane.height) this.sight.centre[pane.rows] = this.scene.ijk[pane.rows]
      }
    }

    look_at(zoom, centre) {
      const {shape} = this.held.grid
      this.sight = {zoom, centre: centre.map((at, axis) => clamp(at, 0, shape[axis] - 1))}
      this.request()
    }

    /** Zooms all panes; what is at a place of one of them stays there, and the crosshair across it. */
    zoom_to(wanted, pane, still) {
      const {zoom, centre} = this.sight, next = clamp(wanted, 1, LARGEST_ZOOM)
      const fixed = Object.assign([...this.scene.ijk], still)
      if (next == 1) this.centre(this.held.grid)
      else this.look_at(next, centre.map((at, axis) => fixed[axis] + (at - fixed[axis]) * zoom / next))
      this.request()
    }

    centre_all() {
      const {grid} = this.held
      this.centre(grid)
      this.move(grid.middle)
      this.request()
    }

    // ---- pointer and keys

    listen(pane) {
      const {el} = pane
      el.addEventListener("pointerdown", (event) => this.grab(pane, event))
      el.addEventListener("pointermove", (event) => { if (this.gesture?.pane === pane) this.drag(event) })
      for (const name of ["pointerup", "pointercancel"]) el.addEventListener(name, () => this.let_go())
      el.addEventListener("mousedown", (event) => { if (event.button == 1) event.preventDefault() })  // does not scroll
      el.addEventListener("contextmenu", (event) => event.preventDefault())
      el.addEventListener("dblclick", () => { if (this.scene != null) this.centre_all() })
      el.addEventListener("wheel", (event) => this.wheel(pane, event), {passive: false})
      el.addEventListener("keydown", (event) => { if (this.press(pane, event)) event.preventDefault() })
    }

    /** Puts the crosshair on a voxel, of which some axes may be left out, for an event of that time. */
    move(ijk, since = this.since) {
      this.since = since
      this.model.move(ijk)
      this.since = null
    }

    /** Where an event is, in voxels of a pane. */
    under(pane, {clientX, clientY}) {
      const {left, top} = pane.el.getBoundingClientRect()
      return pane.voxel_at(clientX - left, clientY - top, this.frame_of(pane))
    }

    grab(pane, event) {
      if (this.scene == null || this.gesture != null || event.button > 2) return
      const kind = event.button == 1 ? "pan" : event.button == 2 || event.shiftKey ? "window" : "cross"
      const {window_low: low, window_high: high} = this.model
      pane.el.setPointerCapture(event.pointerId)
      pane.el.focus({preventScroll: true})
      pane.el.classList.add(`held-${kind}`)
      this.gesture = {pane, kind, x: event.clientX, y: event.clientY, low, high, centre: [...this.sight.centre]}
      this.drag(event)
    }

    drag(event) {
      const {pane, kind, x, y, low, high, centre} = this.gesture, dx = event.clientX - x, dy = event.clientY - y
      this.since = event.timeStamp
      if (kind == "cross") this.move(this.under(pane, event))
      else if (kind == "window") this.set_window(low, high, dx, dy)
      else {
        const {wide, high: tall, flip} = this.frame_of(pane), next = [...centre]
        next[pane.columns] += dx / wide * (flip ? 1 : -1)
        next[pane.rows] += dy / tall
        this.look_at(this.sight.zoom, next)
      }
      this.since = null
    }

    let_go() {
      if (this.gesture == null) return
      const {pane, kind} = this.gesture
      pane.el.classList.remove(`held-${kind}`)
      this.gesture = null
      this.model.tell()
    }

    /** The window that was `low` to `high`, changed by a drag. */
    set_window(low, high, dx, dy) {
      const {value_low, value_high} = this.held, range = value_high - value_low, before = high - low
      const width = clamp(before * 2 ** (dx / TWICE), range / 1000, range * 4)
      const level = clamp((low + high) / 2 + dy * before / LEVEL, value_low, value_high)
      this.model.look({window_low: level - width / 2, window_high: level + width / 2})
    }

    wheel(pane, event) {
      if (this.scene == null) return
      event.preventDefault()
      const pixels = (event.deltaY || event.deltaX) * [1, 16, 400][event.deltaMode]
      if (event.ctrlKey) return this.zoom_to(this.sight.zoom * Math.exp(-pixels * .002), pane, this.under(pane, event))
      let slices = 0
      if (Math.abs(pixels) >= NOTCH) slices = Math.sign(pixels) * Math.max(1, Math.round(Math.abs(pixels) / 120))
      else {
        this.turn += pixels
        slices = Math.trunc(this.turn / CREEP)
        this.turn -= slices * CREEP
      }
      if (slices == 0) return
      this.since = event.timeStamp
      this.nudge(pane.across, -slices)
      this.since = null
    }

    nudge(axis, by) { this.move({[axis]: this.model.ijk[axis] + by}) }

    press(pane, {key, shiftKey, ctrlKey, altKey, metaKey}) {
      if (ctrlKey || altKey || metaKey || this.scene == null) return false
      const way = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[key]
      if (way != null && shiftKey) this.set_window(this.model.window_low, this.model.window_high, 15 * way[0], -15 * way[1])
      else if (way?.[0]) this.nudge(pane.columns, pane.flipped(this.model.radiological) ? -way[0] : way[0])
      else if (way != null) this.nudge(pane.rows, way[1])
      else if (key == "PageUp" || key == "PageDown") this.nudge(pane.across, key == "PageUp" ? 1 : -1)
      else if (key == "+" || key == "=") this.zoom_to(this.sight.zoom * 1.5, pane, {})
      else if (key == "-") this.zoom_to(this.sight.zoom / 1.5, pane, {})
      else if (key == "0") this.centre_all()
      else return false
      return true
    }
  }

  class VolumeView extends VolumeModel {}
  register(VolumeView, "VolumeView", VolumeViewView, ({Bool, Bytes, Dict, Float, Int, List, Percent, Str}) => ({
    volume: [Bytes, EMPTY], step: [Int, 1], shape: [List(Int), []], affine: [List(Float), [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]],
    own_axes: [List(Int), [0, 1, 2]], own_back: [List(Bool), [false, false, false]],
    value_low: [Float, 0], value_high: [Float, 255], window_low: [Float, 0], window_high: [Float, 255],
    palette: [Str, "grey"], smooth: [Bool, true],
    map: [Bytes, EMPTY], map_shape: [List(Int), []], map_low: [Float, -1], map_high: [Float, 1], signed: [Bool, false], limit: [Float, 0],
    label_values: [List(Float), []], label_names: [List(Str), []], label_colours: [Bytes, EMPTY],
    probabilities: [List(Float), []], probability_name: [Str, ""],
    opacity: [Percent, .6], threshold: [Percent, 0], alpha_by_value: [Bool, true], map_palette: [Str, "inferno"], diverging: [Str, "blue-red"],
    show_map: [Bool, true], mask: [Bytes, EMPTY], i: [Int, 0], j: [Int, 0], k: [Int, 0], plane: [Str, ""], radiological: [Bool, true],
    sharp: [List(Int), []], sharp_volume: [Bytes, EMPTY], sharp_map: [Bytes, EMPTY], sharp_mask: [Bytes, EMPTY],
    tick: [Int, 0], ack: [Int, 0], stale: [Bool, false], progress: [Float, 1],
    title: [Str, ""], placeholder: [Str, ""], description: [Str, ""], luts: [Dict(Bytes), {}],
  }), "dashboard.volume_view")

  register_models([VolumeView])
})
