// Planes: one plane of a volume cut, coloured and drawn; how is documented where Python declares it, in dashboard/volume_view.py.
(globalThis.vislib_parts ??= []).push((kit) => {
  "use strict"
  const {element, put_text, put_attribute, fit_canvas} = kit
  const {shade} = kit  // of lens.js

  // In the order of the page. Columns run along one axis of the voxels, rows, upwards, along another.
  const PLANES = [
    {name: "coronal", columns: 0, rows: 2, across: 1},
    {name: "sagittal", columns: 1, rows: 2, across: 0},
    {name: "axial", columns: 0, rows: 1, across: 2},
  ]
  const INDICES = ["i", "j", "k"]
  const LETTERS = [["L", "R"], ["P", "A"], ["I", "S"]]  // at the low and the high end of x, y, z
  const SIDES = {
    left: "the patient's left is on the left", right: "the patient's right is on the left", front: "the patient's front is on the right",
  }
  const CODES = 65536, FAINT = .35  // of a stale map: in grey it could be taken for anatomy

  const PANE_CSS = `
    .pane { position: relative; overflow: hidden; contain: strict; border-radius: 3px; background: #000; outline: none; touch-action: none; cursor: crosshair; user-select: none; }
    .pane:focus-visible::after { content: ""; position: absolute; inset: 0; border-radius: 3px; box-shadow: inset 0 0 0 2px var(--accent, #0b7a6b); }
    .pane.held-window { cursor: move; }
    .pane.held-pan { cursor: grabbing; }
    .word { position: absolute; pointer-events: none; white-space: nowrap; color: #eef2f5; font: 11px/14px var(--bokeh-base-font, sans-serif);
      font-variant-numeric: tabular-nums; text-shadow: 0 0 2px #000, 0 0 3px #000; }
    .letter { font-size: 13px; font-weight: 650; line-height: 16px; width: 16px; text-align: center; }
    .letter.left { left: 2px; top: calc(50% - 8px); } .letter.right { right: 2px; top: calc(50% - 8px); }
    .letter.top { top: 2px; left: calc(50% - 8px); } .letter.bottom { bottom: 2px; left: calc(50% - 8px); }
    .word.caption { left: 6px; top: 4px; }
    .word.bar { left: 8px; bottom: 6px; width: var(--length); text-align: center; }
    .bar::after { content: ""; display: block; height: 3px; border: solid #eef2f5; border-width: 0 1px 2px; filter: drop-shadow(0 0 1px #000); }
    .corner { position: absolute; right: 6px; top: 5px; display: flex; gap: 4px; pointer-events: none; }
    .corner > .chip { position: static; max-width: none; }
    .corner > .input { color: var(--on-accent, #fff); background: var(--accent, #0b7a6b); }
    .pane.input::before { content: ""; position: absolute; inset: 0; z-index: 1; border-radius: 3px; box-shadow: inset 0 0 0 1.5px var(--accent, #0b7a6b); pointer-events: none; }
    .cross { position: absolute; pointer-events: none; --line: rgba(94, 224, 140, .78); }
    .cross.along { left: 0; right: 0; top: calc(var(--y) - .5px); height: 1px;
      background: linear-gradient(90deg, var(--line) calc(var(--x) - 9px), transparent 0 calc(var(--x) + 9px), var(--line) 0); }
    .cross.down { top: 0; bottom: 0; left: calc(var(--x) - .5px); width: 1px;
      background: linear-gradient(var(--line) calc(var(--y) - 9px), transparent 0 calc(var(--y) + 9px), var(--line) 0); }`

  const clamp = (value, low, high) => Math.max(low, Math.min(high, value))

  // ---- the grid -------------------------------------------------------------------------------------------------

  function grid_of(shape, affine, own) {
    const voxel = [0, 1, 2].map((axis) => Math.hypot(affine[axis], affine[4 + axis], affine[8 + axis]) || 1)
    const along = (axis) => Math.max(-1, Math.min(1, affine[5 * axis] / voxel[axis]))
    return {
      shape, affine, voxel, own,
      middle: shape.map((size) => Math.floor(size / 2)),
      extent: shape.map((size, axis) => size * voxel[axis]),
      tilt: Math.max(...[0, 1, 2].map((axis) => Math.acos(along(axis)) * 180 / Math.PI)),  // degrees
    }
  }

  /** The letter and the number by which the file counts a slice across an axis, and the last of these numbers. */
  function own_place({shape, own: {axes, back}}, axis, at) {
    const last = shape[axis] - 1
    if (axes.length != 3) return null  // its slices are none of the file's
    return {letter: INDICES[axes[axis]], at: back[axis] ? last - at : at, last}
  }

  /** A slice across an axis as the file counts it, or by the mm of a place in it. */
  function slice_words(grid, axis, at, mm) {
    const own = own_place(grid, axis, at)
    return own != null ? `${own.letter} ${own.at}` : `${"xyz"[axis]} ${mm.toFixed(1).replace("-", "−")} mm`
  }

  /** Where the next one lies along each axis of an array. */
  function strides_of([, y, z]) { return [y * z, z, 1] }

  function to_mm({affine}, [i, j, k]) {
    return [0, 4, 8].map((at) => affine[at] * i + affine[at + 1] * j + affine[at + 2] * k + affine[at + 3])
  }

  /** The longest of 1, 2, 5, 10, 20, 50 … that is at most `mm`. */
  function nice_length(mm) {
    const power = 10 ** Math.floor(Math.log10(mm))
    return power * (mm >= 5 * power ? 5 : mm >= 2 * power ? 2 : 1)
  }

  // ---- colours --------------------------------------------------------------------------------------------------

  /** A colour for each code of a volume, as RGBA words, for a linear window. */
  function window_words(count, {value_low, value_high, window_low, window_high}, table) {
    const words = new Uint32Array(count), width = window_high - window_low
    const step = (value_high - value_low) / (count - 1)
    for (let code = 0; code < count; code++) {
      const above = value_low + code * step - window_low
      const share = width > 0 ? Math.max(0, Math.min(1, above / width)) : above > 0 ? 1 : 0
      const entry = 3 * Math.round(share * 255)
      words[code] = (255 << 24 | table[entry + 2] << 16 | table[entry + 1] << 8 | table[entry]) >>> 0
    }
    return words
  }

  /** For each code of a map: how much of what is under it stays, and the colour, multiplied by the rest. */
  function map_weights({low, high, signed, limit, table, threshold, alpha_by_value, opacity, faint}) {
    const values = Float64Array.from({length: CODES}, (_, code) => code == 0 ? NaN : low + (code - 1) / (CODES - 2) * (high - low))
    const pixels = new Uint8ClampedArray(4 * CODES), weights = new Float32Array(4 * CODES)
    shade(pixels, values, {signed, limit, table, threshold, alpha_by_value})
    for (let at = 0; at < weights.length; at += 4) {
      const alpha = pixels[at + 3] / 255 * opacity * (faint ? FAINT : 1)
      weights[at] = 1 - alpha
      for (let c = 0; c < 3; c++) weights[at + 1 + c] = alpha * pixels[at + c]
    }
    return weights
  }

  /** A colour for each code of labels, as RGBA words; code 0 is none. */
  function label_words({values, colours}, opacity) {
    const words = new Uint32Array(CODES), alpha = Math.round(255 * opacity)
    for (let code = 1; code <= values.length; code++) {
      const at = 3 * (code - 1)
      words[code] = (alpha << 24 | colours[at + 2] << 16 | colours[at + 1] << 8 | colours[at]) >>> 0
    }
    return words
  }

  // ---- cutting --------------------------------------------------------------------------------------------------
  // A layer is one plane of codes in an array: where its first one lies and the ways to the next column and row. Only every
  // `step`-th voxel of the grid along each axis may be in it, from the first one on.

  function layer_of({shape, strides, step, ...rest}, {columns, rows, across}, at) {
    const slice = clamp(Math.round(at / step), 0, shape[across] - 1)
    const [width, height, column, row] = [shape[columns], shape[rows], strides[columns], strides[rows]]
    return {...rest, step, slice, from: slice * strides[across], width, height, column, row}
  }

  /** The part of a layer from one column and row to another. */
  function cropped(layer, left, right, bottom, top) {
    return {...layer, from: layer.from + left * layer.column + bottom * layer.row, width: right - left + 1, height: top - bottom + 1}
  }

  /** A layer with every n-th column and row. */
  function thinned(layer, n) {
    const {width, height, column, row, step} = layer
    return {...layer, width: Math.ceil(width / n), height: Math.ceil(height / n), column: column * n, row: row * n, step: step * n}
  }

  /** Colours a layer's pixels, first row uppermost. The inner loop goes along the axis whose voxels lie closer together. */
  function cut(words, {codes, map, width, height, from: first, column, row}, flip, table, weights) {
    for (let x = 0; x < width; x++) {
      let from = first + (flip ? width - 1 - x : x) * column, to = (height - 1) * width + x
      if (weights == null || map == null) {
        for (; to >= 0; to -= width, from += row) words[to] = table[codes[from]]
        continue
      }
      for (; to >= 0; to -= width, from += row) {
        const word = table[codes[from]], weight = 4 * map[from], keep = weights[weight]
        if (keep == 1) {
          words[to] = word
          continue
        }
        const red = (word & 255) * keep + weights[weight + 1] + .5
        const green = (word >> 8 & 255) * keep + weights[weight + 2] + .5
        const blue = (word >> 16 & 255) * keep + weights[weight + 3] + .5
        words[to] = 255 << 24 | blue << 16 | green << 8 | red
      }
    }
  }

  /** A canvas that holds a layer's pixels. */
  class Sheet {
    constructor() { this.canvas = document.createElement("canvas") }

    cut(layer, flip, table, weights) {
      const {width, height} = layer, {canvas} = this
      if (this.pixels == null || canvas.width != width || canvas.height != height) {
        Object.assign(canvas, {width, height})
        this.context = canvas.getContext("2d", {willReadFrequently: true})
        this.pixels = this.context.createImageData(width, height)
        this.words = new Uint32Array(this.pixels.data.buffer)
      }
      cut(this.words, layer, flip, table, weights)
      this.context.putImageData(this.pixels, 0, 0)
    }
  }

  /** Where a layer's pixels lie on a plane of so many columns and rows, in voxels from its left and top: left, top, width, height. */
  function lie({width, height, step}, columns, rows, flip) {
    const before = (1 - step) / 2, after = (size, count) => size - before - count * step
    return [flip ? after(columns, width) : before, after(rows, height), width * step, height * step]
  }

  /** First and last place along each axis with something of a mask; null for an empty one. */
  function bounds_of(mask, {shape: [nx, ny, nz], strides}) {
    const low = [nx, ny, nz], high = [-1, -1, -1], fours = new Uint32Array(mask.buffer, 0, mask.length >> 2)
    const take = (index) => {
      if (mask[index] == 0) return
      const place = [Math.floor(index / strides[0]), Math.floor(index / nz) % ny, index % nz]
      for (let axis = 0; axis < 3; axis++) {
        low[axis] = Math.min(low[axis], place[axis])
        high[axis] = Math.max(high[axis], place[axis])
      }
    }
    for (let four = 0; four < fours.length; four++) {
      if (fours[four] != 0) for (let n = 0; n < 4; n++) take(4 * four + n)
    }
    for (let index = 4 * fours.length; index < mask.length; index++) take(index)
    return high[0] < 0 ? null : low.map((first, axis) => [first, high[axis]])
  }

  /** The contour of a layer's mask, through the middles between voxels in- and outside, in its pixels; null for none. */
  function contour({mask, bounds, slice, width, height, from: first, column, row}, plane, flip) {
    if (mask == null || bounds === null) return null
    const [[left, right], [bottom, top], [from, to]] = [plane.columns, plane.rows, plane.across].map((axis) => bounds?.[axis] ?? [0, Infinity])
    if (slice < from || slice > to) return null
    const wide = width + 2, inside = new Uint8Array(wide * (height + 2))  // with a margin of one
    const columns = [left, Math.min(right, width - 1)], rows = [bottom, Math.min(top, height - 1)]
    let some = false
    for (let x = columns[0]; x <= columns[1]; x++) {
      const pixel = flip ? width - x : x + 1
      for (let y = rows[0]; y <= rows[1]; y++) {
        if (mask[first + x * column + y * row] == 0) continue
        inside[(height - y) * wide + pixel] = 1
        some = true
      }
    }
    if (!some) return null
    const path = new Path2D(), [start, end] = flip ? [width - 1 - columns[1], width - columns[0]] : [columns[0], columns[1] + 1]
    for (let y = height - rows[1] - 1; y <= height - rows[0]; y++) {
      for (let x = start; x <= end; x++) {
        const corner = y * wide + x
        const a = inside[corner], b = inside[corner + 1], c = inside[corner + wide + 1], d = inside[corner + wide]
        if (a + b + c + d == 0 || a + b + c + d == 4) continue
        const ends = []
        if (a != b) ends.push([x, y - .5])
        if (b != c) ends.push([x + .5, y])
        if (c != d) ends.push([x, y + .5])
        if (d != a) ends.push([x - .5, y])
        for (let k = 0; k < ends.length; k += 2) {
          path.moveTo(...ends[k])
          path.lineTo(...ends[k + 1])
        }
      }
    }
    return path
  }

  // ---- Pane -----------------------------------------------------------------------------------------------------

  /** One plane on the page: its canvas, crosshair, letters and scale bar. */
  class Pane {
    constructor(parent, plane) {
      const {columns, rows, across} = plane
      Object.assign(this, {plane, columns, rows, across, sheet: new Sheet(), regions: new Sheet(), keys: {}, width: 0, height: 0})
      this.title = plane.name[0].toUpperCase() + plane.name.slice(1)
      this.el = element(parent, "div", `pane bone ${plane.name}`, {tabindex: "0", role: "img"})
      this.canvas = element(this.el, "canvas")
      this.crosses = ["along", "down"].map((way) => element(this.el, "div", `cross ${way}`))
      const word = (classes) => element(this.el, "span", `word ${classes}`)
      this.letters = Object.fromEntries(["left", "right", "top", "bottom"].map((side) => [side, word(`letter ${side}`)]))
      this.caption = word("caption")
      this.bar = word("bar")
      const corner = element(this.el, "div", "corner")
      this.waiting = element(corner, "span", "chip waiting")
      this.input = element(corner, "span", "chip input")
    }

    /** Whether something has to be done anew: what it was done for is not what `parts` say. */
    differs(which, parts) {
      const key = parts.join()
      if (this.keys[which] == key) return false
      this.keys[which] = key
      return true
    }

    flipped(radiological) { return radiological && this.columns == 0 }

    /** The plane's rectangle in CSS pixels of the pane, and the pixels of a voxel; `sight` is the scene's centre and pixels a mm. */
    frame({grid, sight, flip}) {
      const [wide, high] = [this.columns, this.rows].map((axis) => grid.voxel[axis] * sight.scale)
      const [columns, rows] = [grid.shape[this.columns], grid.shape[this.rows]]
      const x = sight.centre[this.columns] + .5, y = rows - (sight.centre[this.rows] + .5)
      return {wide, high, columns, rows, flip, left: this.width / 2 - (flip ? columns - x : x) * wide, top: this.height / 2 - y * high}
    }

    /** Where the middle of a voxel is in the pane. */
    place_of(ijk, {left, top, wide, high, columns, rows, flip}) {
      const x = ijk[this.columns] + .5, y = rows - (ijk[this.rows] + .5)
      return [left + (flip ? columns - x : x) * wide, top + y * high]
    }

    /** The place in voxels, not rounded, that is at a position of the pane, for the axes that it shows. */
    voxel_at(x, y, {left, top, wide, high, columns, rows, flip}) {
      const along = (x - left) / wide, down = (y - top) / high
      return {[this.columns]: (flip ? columns - along : along) - .5, [this.rows]: rows - down - .5}
    }

    /** Paints what changed of the plane; `scene` says all that it depends on. */
    paint(scene) {
      const {ijk, volume, map} = scene, at = ijk[this.across], flip = this.flipped(scene.radiological)
      const frame = this.frame({...scene, flip}), layer = scene.layer(this.plane, at)
      const {id, slice} = layer
      if (this.differs("cut", [id, slice, flip, volume.key, map?.key])) this.cut(layer, flip, volume.table, map?.weights)
      const labels = layer.map == null ? null : map?.labels
      if (labels != null && this.differs("regions", [id, slice, flip, map.key])) this.regions.cut({...layer, codes: layer.map}, flip, map.table)
      if (this.differs("contour", [id, slice, flip])) this.contour = contour(layer, this.plane, flip)
      fit_canvas(this.canvas, this.width, this.height)
      const look = [this.keys.cut, scene.smooth, this.canvas.width, this.canvas.height, ...Object.values(frame)]
      if (this.differs("canvas", look)) this.draw(layer, frame, scene.smooth, labels != null)
      this.annotate(scene, at, frame)
    }

    cut(...all) { this.sheet.cut(...all) }

    draw(layer, {left, top, wide, high, columns, rows, flip}, smooth, regions) {
      const context = this.canvas.getContext("2d"), ratio = window.devicePixelRatio || 1
      const [x, y, width, height] = lie(layer, columns, rows, flip)
      context.setTransform(ratio, 0, 0, ratio, 0, 0)
      context.clearRect(0, 0, this.width, this.height)
      context.imageSmoothingEnabled = smooth
      context.imageSmoothingQuality = "low"
      context.save()
      if (layer.step > 1) {
        context.beginPath()
        context.rect(left, top, columns * wide, rows * high)
        context.clip()
        context.drawImage(this.sheet.canvas, left, top, columns * wide, rows * high)  // for the last voxels, beyond the last pixels
      }
      context.drawImage(this.sheet.canvas, left + x * wide, top + y * high, width * wide, height * high)
      if (regions) {  // never blended: between two labels lies no third
        context.imageSmoothingEnabled = false
        context.drawImage(this.regions.canvas, left + x * wide, top + y * high, width * wide, height * high)
      }
      context.restore()
      if (this.contour == null) return
      const path = new Path2D(), {step} = layer
      path.addPath(this.contour, new DOMMatrix([step * wide, 0, 0, step * high, left + x * wide, top + y * high]))
      context.lineCap = "round"
      for (const [colour, thick] of [["rgba(0, 0, 0, .7)", 3.5], ["#fff", 1.5]]) {
        context.strokeStyle = colour
        context.lineWidth = thick
        context.stroke(path)
      }
    }

    annotate({grid, ijk, sight, faint, input}, at, frame) {
      const [x, y] = this.place_of(ijk, frame), chosen = input == this.plane.name
      const own = own_place(grid, this.across, at), words = slice_words(grid, this.across, at, to_mm(grid, ijk)[this.across])
      for (const {style} of this.crosses) {
        style.setProperty("--x", `${x.toFixed(1)}px`)
        style.setProperty("--y", `${y.toFixed(1)}px`)
      }
      const [low, high] = LETTERS[this.columns]
      put_text(this.letters.left, frame.flip ? high : low)
      put_text(this.letters.right, frame.flip ? low : high)
      put_text(this.letters.bottom, LETTERS[this.rows][0])
      put_text(this.letters.top, LETTERS[this.rows][1])
      put_text(this.caption, `${this.title} ${words}`)
      put_text(this.bar, `${sight.bar} mm`)
      this.bar.style.setProperty("--length", `${(sight.bar * sight.scale).toFixed(1)}px`)
      put_text(this.waiting, faint ? "updating…" : "")
      put_text(this.input, chosen ? "input" : "")
      this.el.classList.toggle("input", chosen)
      const sides = SIDES[this.columns == 1 ? "front" : frame.flip ? "right" : "left"]
      const said = `${this.title} plane, ${words}${own == null ? "" : ` of 0 to ${own.last}`}; ${sides}`
      put_attribute(this.el, "aria-label", chosen ? `${said}; the input of the other tabs` : said)
    }
  }

  Object.assign(kit, {
    FAINT, INDICES, LETTERS, PANE_CSS, PLANES, Pane, Sheet, bounds_of, clamp, cropped, grid_of, layer_of, lie, map_weights, nice_length, label_words, own_place, slice_words,
    strides_of, thinned, to_mm, window_words,
  })
})
