// Overlay: a picture under a map, seen through a lens; its properties are documented where Python declares them, in dashboard/overlay.py.
(globalThis.vislib_parts ??= []).push((kit) => {
  "use strict"
  const {LayoutDOM, StageView, register, register_models} = kit
  const {element, place, put_text, put_attribute, number_text, to_blob, fit_canvas, choose_smoothing} = kit
  const {LARGEST_ZOOM, LOOKS, largest, shade} = kit  // of lens.js

  const CAPTION = 20, SCALE = 24
  const SIDES = ["left", "right", "top", "bottom"]
  const NAMES = {L: "left", R: "right", A: "front", P: "back", S: "top", I: "bottom"}  // of a patient
  const EMPTY = () => new ArrayBuffer(0)

  const CSS = `
    .caption { position: absolute; font: 600 12px/${CAPTION}px var(--bokeh-base-font, sans-serif); color: var(--text, #1b2027);
      white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
    .window { position: absolute; overflow: hidden; border-radius: 3px; background: var(--sunken, #eceef1); }
    .window.zoomed { cursor: grab; touch-action: none; }
    .window.held { cursor: grabbing; }
    .stage.filled .window.bone { animation: none; }
    .window.stale canvas, .scale.stale { filter: grayscale(1) opacity(.45); }
    .window > .chip { z-index: 1; }
    .note { left: 5px; top: 5px; }
    .value { right: 5px; bottom: 5px; }
    .value.above { bottom: auto; top: 5px; }
    .letter { position: absolute; z-index: 1; pointer-events: none; width: 16px; text-align: center; color: #eef2f5;
      font: 650 13px/16px var(--bokeh-base-font, sans-serif); text-shadow: 0 0 2px #000, 0 0 3px #000; }
    .letter:nth-of-type(1) { left: 2px; top: calc(50% - 8px); } .letter:nth-of-type(2) { right: 2px; top: calc(50% - 8px); }
    .letter:nth-of-type(3) { top: 2px; left: calc(50% - 8px); } .letter:nth-of-type(4) { bottom: 2px; left: calc(50% - 8px); }
    .waiting { left: 50%; top: 50%; transform: translate(-50%, -50%); padding: 2px 10px; }
    .progress { position: absolute; z-index: 1; left: 0; right: 0; top: 0; height: 3px; background: rgba(127, 127, 127, .6); }
    .progress > div { height: 100%; background: var(--accent, #0b7a6b); transition: width .15s linear; }
    .cross { position: absolute; pointer-events: none; }
    .cross.across { left: 0; right: 0; top: calc(var(--y) - 1.5px); height: 3px;
      background: linear-gradient(rgba(0, 0, 0, .32) 1px, rgba(255, 255, 255, .8) 1px 2px, rgba(0, 0, 0, .32) 2px);
      mask: linear-gradient(90deg, #000 calc(var(--x) - 8px), transparent 0 calc(var(--x) + 8px), #000 0); }
    .cross.down { top: 0; bottom: 0; left: calc(var(--x) - 1.5px); width: 3px;
      background: linear-gradient(90deg, rgba(0, 0, 0, .32) 1px, rgba(255, 255, 255, .8) 1px 2px, rgba(0, 0, 0, .32) 2px);
      mask: linear-gradient(#000 calc(var(--y) - 8px), transparent 0 calc(var(--y) + 8px), #000 0); }
    .scale { position: absolute; color: var(--quiet, #5b6572); font: 10.5px/13px var(--bokeh-base-font, sans-serif);
      font-variant-numeric: tabular-nums; }
    .scale canvas { position: absolute; left: 0; top: 5px; width: 100%; height: 4px; border-radius: 2px; background: var(--sunken, #eceef1);
      box-shadow: 0 0 0 1px var(--line, #d8dce2); }
    .scale i { position: absolute; top: 2px; width: 2px; height: 10px; margin-left: -1px; border-radius: 1px;
      background: var(--text, #1b2027); box-shadow: 0 0 0 1px var(--surface, #fff); }
    .scale span { position: absolute; top: 11px; }
    .scale span:nth-of-type(2) { left: 50%; transform: translateX(-50%); }
    .scale span:nth-of-type(3) { right: 0; }
    [hidden] { display: none; }`

  // ---- small helpers --------------------------------------------------------------------------------------------

  /** A value of any size in three digits, with a typographic minus, as wide as a plus. */
  function value_text(value) {
    const size = Math.abs(value), plain = size == 0 || (size >= 1e-3 && size < 1e6) || !Number.isFinite(value)
    return (plain ? number_text(value) : value.toExponential(2).replace("e+", "e")).replaceAll("-", "−")
  }

  function sized_canvas(width, height) {
    const canvas = document.createElement("canvas")
    canvas.width = width
    canvas.height = height
    return canvas
  }

  /** The contour of a mask, through the middles between pixels inside and outside, in the mask's own pixels. */
  function contour(mask, height, width) {
    const path = new Path2D()
    const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && mask[y * width + x] != 0
    for (let y = -1; y < height; y++) {
      for (let x = -1; x < width; x++) {
        const [a, b, c, d] = [inside(x, y), inside(x + 1, y), inside(x + 1, y + 1), inside(x, y + 1)]
        if (a == b && b == c && c == d) continue
        const ends = []
        if (a != b) ends.push([x + 1, y + .5])
        if (b != c) ends.push([x + 1.5, y + 1])
        if (c != d) ends.push([x + 1, y + 1.5])
        if (d != a) ends.push([x + .5, y + 1])
        for (let k = 0; k < ends.length; k += 2) {
          path.moveTo(...ends[k])
          path.lineTo(...ends[k + 1])
        }
      }
    }
    return path
  }

  // ---- Overlay --------------------------------------------------------------------------------------------------

  class OverlayView extends StageView {
    initialize() {
      super.initialize()
      this.wanted = null       // the newest update that is not decoded yet
      this.busy = false
      this.updates = 0
      this.held = null         // the update that is shown
      this.unpainted = null    // its tick, until it is painted
      this.dimmed = this.model.stale
      this.keys = {}           // what is on the canvases
    }

    connect_signals() {
      super.connect_signals()
      const {model} = this, {lens} = model, p = model.properties
      this.connect(p.tick.change, () => { this.take() })
      this.connect(p.stale.change, () => {
        if (model.stale) this.dimmed = true
        this.request()
      })
      this.on_change([p.progress, p.show_overlay, p.caption, p.placeholder, p.description], () => this.request())
      for (const name of LOOKS) this.connect(lens.properties[name].change, () => { this.request() })
      this.connect(lens.rescaled, () => { this.request() })
    }

    stylesheets() { return [...super.stylesheets(), CSS] }

    remove() {
      this.model.lens.measure(this, null)
      super.remove()
    }

    furnish() {
      Object.assign(this.stage, {tabIndex: 0})
      this.stage.setAttribute("role", "img")
      this.caption = element(this.stage, "div", "caption")
      this.window = element(this.stage, "div", "window bone")
      this.canvas = element(this.window, "canvas")
      this.lines = element(this.window, "canvas")
      this.letters = SIDES.map(() => element(this.window, "b", "letter"))
      this.crosses = ["across", "down"].map((way) => element(this.window, "div", `cross ${way}`))
      this.progress = element(this.window, "div", "progress")
      element(this.progress, "div")
      const chip = (classes) => element(this.window, "span", `chip ${classes}`)
      this.chips = {note: chip("note"), value: chip("value"), waiting: chip("waiting")}
      this.scale = element(this.stage, "div", "scale")
      this.bar = element(this.scale, "canvas")
      Object.assign(this.bar, {width: 256, height: 1})
      this.mark = element(this.scale, "i")
      this.ends = [0, 1, 2].map(() => element(this.scale, "span"))
      this.keys = {}
      this.listen()
      if (this.held == null && this.model.tick > 0) this.take()
    }

    // ---- updates

    take() {
      const {model} = this, {picture, colour, signed, note, tick, stale, flipped, letters} = model
      const trouble = []
      const grid = (name, bytes, shape, Type) => {
        if (bytes.byteLength == 0) return null
        const [height, width] = shape
        if (shape.length == 2 && bytes.byteLength == height * width * Type.BYTES_PER_ELEMENT) {
          return {values: new Type(bytes), height, width}
        }
        trouble.push(`the ${name} cannot be read`)
        return null
      }
      const smooth = grid("map", model.map, model.map_shape, Float32Array) ?? grid("map", model.raw, model.raw_shape, Float32Array)
      const raw = grid("raw map", model.raw, model.raw_shape, Float32Array) ?? smooth
      const mask = grid("outline", model.outline, model.outline_shape, Uint8Array)
      for (const map of [smooth, raw]) if (map != null) map.largest ??= largest(map.values, signed)
      const limit = (map) => map == null ? 0 : model.limit > 0 ? model.limit : map.largest
      this.wanted = {id: ++this.updates, picture, colour, signed, note, tick, stale, trouble, smooth, raw, mask, flipped, letters,
                     limits: {smooth: limit(smooth), raw: limit(raw)}}
      if (!this.busy) this.read()
    }

    async read() {
      this.busy = true
      while (this.wanted != null && !this.is_destroyed) {
        const update = this.wanted
        this.wanted = null
        update.picture_canvas = await this.decode(update, "picture")
        update.colour_canvas = await this.decode(update, "colour")
        if (!this.is_destroyed) this.hold(update)
      }
      this.busy = false
    }

    /** A canvas with an encoded picture, the one that is held if it is of the same bytes. */
    async decode(update, which) {
      const buffer = update[which]
      if (buffer.byteLength == 0) return null
      const same = this.held?.[which] === buffer ? this.held[`${which}_canvas`] : null
      if (same != null) return same
      try {
        const bitmap = await createImageBitmap(to_blob(buffer))
        const canvas = sized_canvas(bitmap.width, bitmap.height)
        canvas.getContext("2d").drawImage(bitmap, 0, 0)
        bitmap.close()
        return canvas
      } catch (error) {
        console.warn(`vislib: the ${which} of update ${update.tick} could not be decoded (${error})`)
        update.trouble.push(`the ${which} cannot be read`)
        return null
      }
    }

    hold(update) {
      this.held = update
      this.dimmed = update.stale || this.model.stale
      update.contour = update.mask == null ? null : contour(update.mask.values, update.mask.height, update.mask.width)
      update.empty = update.picture_canvas == null && update.smooth == null && update.colour_canvas == null
      this.unpainted = update.tick
      this.model.lens.measure(this, update.smooth == null ? null : update.limits)
      this.request()
    }

    // ---- painting

    get map() { return this.model.lens.smooth ? this.held?.smooth : this.held?.raw }
    get shows_map() {
      const {lens, show_overlay} = this.model
      return show_overlay && lens.show_map && (this.map != null || this.held?.colour_canvas != null)
    }
    /** The value of the strongest colour; 0 for a map without colours. */
    get limit() { return this.map?.largest > 0 ? this.model.lens.limit_of(this) : 0 }
    get table() { const {lens} = this.model; return lens.table(this.held.signed ? lens.diverging : lens.palette) }

    get flipped() { return this.held?.flipped ?? false }

    /** A canvas' context, cleared, on which all that is drawn comes out the way round that it is shown. */
    context_of(canvas) {
      const context = canvas.getContext("2d")
      context.setTransform(1, 0, 0, 1, 0, 0)
      context.clearRect(0, 0, canvas.width, canvas.height)
      if (this.flipped) context.setTransform(-1, 0, 0, 1, canvas.width, 0)
      return context
    }

    /** Where on the window, from 0 to 1, a share of its width is that counts along the arrays' columns; and back. */
    turned(u) { return this.flipped ? 1 - u : u }

    /** Height and width of what is shown, in the picture's own pixels. */
    get shape() {
      const {picture_canvas: picture, colour_canvas: colour, smooth} = this.held ?? {}
      const {height, width} = picture ?? smooth ?? colour ?? {height: 1, width: 1}
      return {height, width}
    }

    repaint() {
      const {width, height} = this.box
      if (width == 0 || height == 0) return  // hidden: painted and acknowledged when it is seen again
      const box = this.lay_out(width, height)
      this.words()
      this.follow()
      if (box.width < 1 || box.height < 1) return
      this.paint(box)
      this.trace(box)
      this.paint_scale()
      if (this.unpainted == null) return
      this.model.paints += 1
      const tick = this.unpainted
      this.unpainted = null
      setTimeout(() => { if (!this.is_destroyed) this.model.ack = tick })
    }

    lay_out(width, height) {
      const above = this.model.caption == "" ? 0 : CAPTION, below = height >= 90 ? SCALE : 0
      const shape = this.shape, room = Math.max(0, height - above - below)
      const wide = Math.floor(Math.min(width, room * shape.width / shape.height)), high = Math.floor(wide * shape.height / shape.width)
      const left = Math.floor((width - wide) / 2), top = Math.floor((room - high) / 2)
      place(this.caption, {left, top, width: wide, height: above})
      place(this.window, {left, top: top + above, width: wide, height: high})
      place(this.scale, {left, top: top + above + high, width: wide, height: below})
      this.scale.hidden = below == 0 || !this.shows_map || this.map == null || this.held.colour_canvas != null || this.limit <= 0
      this.window_box = {width: wide, height: high}
      return this.window_box
    }

    /** Whether a canvas has to be painted anew: what it shows is not what `parts` say. */
    differs(which, parts) {
      const key = parts.join()
      if (this.keys[which] == key) return false
      this.keys[which] = key
      return true
    }

    paint({width, height}) {
      const {canvas, held} = this, {lens} = this.model, {zoom, x, y} = lens.aim
      if (fit_canvas(canvas, width, height)) this.keys.picture = ""
      const shaded = this.shows_map ? this.shaded() : null
      const look = [held?.id, zoom, x, y, lens.show_picture, lens.opacity, lens.smooth, shaded != null, this.keys.map, this.shows_map]
      if (!this.differs("picture", look)) return
      const context = this.context_of(canvas), {width: w, height: h} = canvas
      const target = [w * (.5 - x * zoom), h * (.5 - y * zoom), w * zoom, h * zoom]
      if (held == null) return
      const {picture_canvas: picture} = held
      if (lens.show_picture && picture != null) {
        const scale = w * zoom / picture.width
        choose_smoothing(context, !lens.smooth && scale >= 3 ? "pixelated" : "auto", Math.max(picture.width, picture.height), scale)
        context.drawImage(picture, ...target)
      }
      if (shaded == null) return
      context.globalAlpha = lens.opacity
      context.imageSmoothingEnabled = lens.smooth
      context.imageSmoothingQuality = "low"
      context.drawImage(shaded, ...target)
      context.globalAlpha = 1
    }

    /** The coloured map in its own pixels, kept until its colours change. */
    shaded() {
      const {map, held, limit} = this, {lens} = this.model, {threshold, alpha_by_value} = lens
      if (map == null) return held.colour_canvas
      const name = held.signed ? lens.diverging : lens.palette
      if (!this.differs("map", [held.id, lens.smooth, name, threshold, alpha_by_value, limit])) return this.shade_canvas
      const canvas = sized_canvas(map.width, map.height), context = canvas.getContext("2d")
      let colour = null
      if (held.colour_canvas != null) {
        context.drawImage(held.colour_canvas, 0, 0, map.width, map.height)
        colour = context.getImageData(0, 0, map.width, map.height).data
      }
      const pixels = context.createImageData(map.width, map.height)
      shade(pixels.data, map.values, {signed: held.signed, limit, table: this.table, threshold, alpha_by_value, colour})
      context.putImageData(pixels, 0, 0)
      return this.shade_canvas = canvas
    }

    trace({width, height}) {
      const {lines, held} = this, {zoom, x, y} = this.model.lens.aim
      if (fit_canvas(lines, width, height)) this.keys.lines = ""
      if (!this.differs("lines", [held?.id, zoom, x, y])) return
      const context = this.context_of(lines), {width: w, height: h} = lines, ratio = window.devicePixelRatio || 1
      if (held?.contour == null) return
      const path = new Path2D(), {mask} = held
      path.addPath(held.contour, new DOMMatrix([w * zoom / mask.width, 0, 0, h * zoom / mask.height, w * (.5 - x * zoom), h * (.5 - y * zoom)]))
      context.lineCap = "round"
      for (const [colour, thick] of [["rgba(0, 0, 0, .7)", 3.5], ["#fff", 1.5]]) {
        context.strokeStyle = colour
        context.lineWidth = thick * ratio
        context.stroke(path)
      }
    }

    paint_scale() {
      if (this.scale.hidden) return
      const {held, limit} = this, {lens} = this.model
      const words = held.signed ? [value_text(-limit), "0", `+${value_text(limit)}`] : ["0", "", value_text(limit)]
      this.ends.forEach((el, k) => put_text(el, words[k]))
      if (!this.differs("scale", [held.signed, lens.palette, lens.diverging, lens.threshold])) return
      const context = this.bar.getContext("2d"), pixels = context.createImageData(256, 1)
      const values = Array.from({length: 256}, (_, i) => held.signed ? (i - 127.5) / 127.5 : i / 255)
      shade(pixels.data, values, {signed: held.signed, limit: 1, table: this.table, threshold: lens.threshold, alpha_by_value: false})
      context.putImageData(pixels, 0, 0)
    }

    // ---- words

    words() {
      const {model, held} = this
      const filled = held != null && !held.empty
      this.stage.classList.toggle("filled", filled)
      this.window.classList.toggle("bone", !filled)
      for (const el of [this.window, this.scale]) el.classList.toggle("stale", filled && this.dimmed)
      put_text(this.caption, model.caption)
      put_attribute(this.caption, "title", model.caption)
      put_text(this.placeholder, model.placeholder)
      const letters = held?.letters ?? []
      this.letters.forEach((el, side) => put_text(el, filled ? letters[side] ?? "" : ""))
      put_text(this.chips.waiting, filled && this.dimmed ? "updating…" : "")
      const notes = held == null ? [] : this.notes()
      put_text(this.chips.note, notes.join(" · "))
      this.progress.hidden = model.progress >= 1
      this.progress.firstChild.style.width = `${100 * model.progress}%`
      const said = [model.description || model.caption || "A picture with a map over it", ...notes]
      if (letters.length > 0) said.push(`the patient's ${NAMES[letters[0]]} is on the left`)
      if (this.dimmed) said.push("updating")
      if (!filled) said.push(model.placeholder)
      put_attribute(this.stage, "aria-label", said.filter((words) => words != "").join(": "))
    }

    notes() {
      const {held, map} = this, notes = [...held.trouble]
      if (map?.largest == 0) notes.push(this.emptiness(map.values, held.note))
      if (held.note != "") notes.push(held.note)
      return notes.filter((words) => words != "")
    }

    /** Why a map has no colours; nothing where the note says so already. */
    emptiness(values, note) {
      if (values.every((value) => value == 0)) return "the map is zero everywhere"
      if (!values.some(Number.isFinite)) return "the map holds no numbers"
      return note == "" ? "all values are 0 or below" : ""
    }

    /** Puts crosshair, value and the mark on the colour bar where the lens points. */
    follow() {
      const {lens} = this.model, {hover_x: fx, hover_y: fy} = lens, {zoom, x, y} = lens.aim
      const {width, height} = this.window_box
      const [u, v] = [this.turned((fx - x) * zoom + .5), (fy - y) * zoom + .5]
      const shown = fx >= 0 && fy >= 0 && this.held != null && !this.held.empty && u >= 0 && u <= 1 && v >= 0 && v <= 1
      for (const el of this.crosses) el.hidden = !shown
      this.window.style.setProperty("--x", `${(u * width).toFixed(1)}px`)
      this.window.style.setProperty("--y", `${(v * height).toFixed(1)}px`)
      this.window.classList.toggle("zoomed", zoom > 1)
      this.chips.value.classList.toggle("above", v > .72)
      const value = shown && this.shows_map ? this.value_at(fx, fy) : null
      put_text(this.chips.value, shown ? this.value_words(fx, fy, value) : "")
      const share = value == null ? NaN : Math.max(this.held.signed ? -1 : 0, Math.min(1, value / this.limit))
      this.mark.hidden = !Number.isFinite(share)
      this.mark.style.left = `${100 * (this.held?.signed ? (share + 1) / 2 : share)}%`
    }

    value_at(fx, fy) {
      const {map} = this
      if (map == null) return null
      const [x, y] = [Math.min(map.width - 1, Math.floor(fx * map.width)), Math.min(map.height - 1, Math.floor(fy * map.height))]
      return map.values[y * map.width + x]
    }

    value_words(fx, fy, value) {
      const {width, height} = this.shape
      const where = `x ${Math.min(width - 1, Math.floor(fx * width))}, y ${Math.min(height - 1, Math.floor(fy * height))}`
      return value == null ? where : `${where} · ${value_text(value)}`
    }

    // ---- pointer and keys

    listen() {
      const {window: el} = this
      el.addEventListener("wheel", (event) => this.wheel(event), {passive: false})
      el.addEventListener("pointerdown", (event) => this.grab(event))
      el.addEventListener("pointermove", (event) => this.move(event))
      for (const name of ["pointerup", "pointercancel"]) el.addEventListener(name, () => this.let_go())
      el.addEventListener("pointerleave", () => this.model.lens.point(-1, -1))
      el.addEventListener("dblclick", () => this.model.lens.look(1, .5, .5))
      this.stage.addEventListener("keydown", (event) => { if (this.press(event)) event.preventDefault() })
    }

    /** Where an event is in the window, 0 to 1, along the arrays' columns and rows. */
    within({clientX, clientY}) {
      const {left, top, width, height} = this.window.getBoundingClientRect()
      return [this.turned((clientX - left) / width), (clientY - top) / height]
    }

    zoom_to(wanted, u = .5, v = .5) {
      const {lens} = this.model, {zoom, x, y} = lens.aim
      const next = Math.max(1, Math.min(LARGEST_ZOOM, wanted)), still = 1 / zoom - 1 / next
      if (next == zoom) return false
      lens.look(next, Math.max(0, Math.min(1, x + (u - .5) * still)), Math.max(0, Math.min(1, y + (v - .5) * still)))
      return true
    }

    wheel(event) {
      if (this.held == null || this.held.empty) return
      const pixels = event.deltaY * [1, 16, 400][event.deltaMode]
      if (this.zoom_to(this.model.lens.aim.zoom * Math.exp(-pixels * .002), ...this.within(event))) event.preventDefault()
      this.hover(event)
    }

    grab(event) {
      if (event.button != 0 || this.model.lens.aim.zoom == 1) return
      this.window.setPointerCapture(event.pointerId)
      this.grip = this.within(event)
      this.window.classList.add("held")
    }

    let_go() {
      this.grip = null
      this.window.classList.remove("held")
    }

    move(event) {
      if (this.grip != null) {
        const [u, v] = this.within(event), [was_u, was_v] = this.grip
        this.pan((was_u - u), (was_v - v))
        this.grip = [u, v]
      }
      this.hover(event)
    }

    /** Moves the lens by shares of the window. */
    pan(du, dv) {
      const {lens} = this.model, {zoom, x, y} = lens.aim
      const inner = (centre) => Math.max(0, Math.min(1, centre))
      lens.look(zoom, inner(x + du / zoom), inner(y + dv / zoom))
    }

    hover(event) {
      const {lens} = this.model, {zoom, x, y} = lens.aim
      const [u, v] = this.within(event).map((one) => Math.max(0, Math.min(1, one)))
      lens.point(x + (u - .5) / zoom, y + (v - .5) / zoom)
    }

    press({key, ctrlKey, altKey, metaKey}) {
      if (ctrlKey || altKey || metaKey || this.held == null || this.held.empty) return false
      const {lens} = this.model, {zoom} = lens.aim
      if (key == "+" || key == "=") return this.zoom_to(zoom * 1.5)
      if (key == "-") return this.zoom_to(zoom / 1.5)
      if (zoom == 1) return false
      const right = this.flipped ? -.1 : .1
      const way = {ArrowLeft: [-right, 0], ArrowRight: [right, 0], ArrowUp: [0, -.1], ArrowDown: [0, .1]}[key]
      if (way != null) this.pan(...way)
      else if (key == "0") lens.look(1, .5, .5)
      return way != null || key == "0"
    }
  }

  class Overlay extends LayoutDOM {
    initialize() {
      super.initialize()
      this.paints = 0  // updates painted: for tests and measurements
    }
  }
  register(Overlay, "Overlay", OverlayView, ({AnyRef, Bool, Bytes, Float, Int, List, Str}) => ({
    lens: [AnyRef()],
    picture: [Bytes, EMPTY], map: [Bytes, EMPTY], map_shape: [List(Int), []], raw: [Bytes, EMPTY], raw_shape: [List(Int), []],
    signed: [Bool, false], limit: [Float, 0], colour: [Bytes, EMPTY], outline: [Bytes, EMPTY], outline_shape: [List(Int), []],
    flipped: [Bool, false], letters: [List(Str), []],
    tick: [Int, 0], ack: [Int, 0], stale: [Bool, false], progress: [Float, 1], show_overlay: [Bool, true],
    caption: [Str, ""], note: [Str, ""], placeholder: [Str, ""], description: [Str, ""],
  }), "dashboard.overlay")

  register_models([Overlay])
})
