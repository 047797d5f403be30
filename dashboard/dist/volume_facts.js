// Facts about a volume at its crosshair: words and two bars of colours; for VolumeView of dashboard/volume_view.py.
(globalThis.vislib_parts ??= []).push((kit) => {
  "use strict"
  const {element, put_text, number_text} = kit
  const {shade} = kit  // of lens.js
  const {INDICES, LETTERS, index_of, to_mm} = kit  // of planes.js

  const HINT = "Wheel: slices · Shift and drag: window · Ctrl and wheel: zoom · double click: centre"

  const FACTS_CSS = `
    .facts { overflow: hidden auto; scrollbar-width: thin; padding: 7px 4px 4px 13px; color: var(--text, #1b2027); font: 12.5px/18px var(--bokeh-base-font, sans-serif);
      font-variant-numeric: tabular-nums; }
    .facts > * { max-width: 340px; }
    .title { font-weight: 600; margin-bottom: 3px; }
    .title:empty, .note:empty { display: none; }
    .note { color: var(--warm, #9a5b00); }
    dl { display: grid; grid-template-columns: 58px minmax(0, 1fr); margin: 0 0 5px; }
    dt { color: var(--quiet, #5b6572); } dd { margin: 0; white-space: nowrap; } dd b { font-weight: 400; color: var(--quiet, #5b6572); margin-right: 3px; }
    dd span { display: inline-block; min-width: 62px; }
    .scale { position: relative; height: 44px; font-size: 11px; line-height: 14px; }
    .scale .head { display: flex; justify-content: space-between; gap: 8px; color: var(--quiet, #5b6572); } .head b { font-weight: 400; }
    .scale canvas { left: 0; top: 17px; width: 100%; height: 7px; border-radius: 2px; background: var(--sunken, #eceef1); box-shadow: 0 0 0 1px var(--line, #d8dce2); }
    .scale i { position: absolute; top: 14px; width: 2px; height: 13px; margin-left: -1px; border-radius: 1px; background: var(--text, #1b2027);
      box-shadow: 0 0 0 1px var(--surface, #fff); }
    .scale span { position: absolute; top: 27px; }
    .scale span:nth-of-type(2) { left: 50%; transform: translateX(-50%); }
    .scale span:nth-of-type(3) { right: 0; }
    button { font: inherit; font-size: 12px; color: var(--text, #1b2027); background: var(--surface, #fff); border: 1px solid var(--line, #d8dce2); border-radius: 4px;
      padding: 2px 8px; margin: 3px 0 5px; cursor: pointer; }
    button:hover { background: var(--sunken, #eceef1); border-color: var(--quiet, #5b6572); }
    button:focus-visible { outline: 2px solid var(--accent, #0b7a6b); outline-offset: 1px; }
    .hint { color: var(--quiet, #5b6572); font-size: 11px; line-height: 15px; }`

  // ---- small helpers --------------------------------------------------------------------------------------------

  const minus = (words) => words.replaceAll("-", "−")  // as wide as a plus
  const words_of = (value) => minus(number_text(value))
  const tenths = (value) => minus((Math.round(value * 10) / 10 + 0).toFixed(1))

  // ---- Facts ----------------------------------------------------------------------------------------------------

  /** A bar of 256 colours with a mark, numbers at its ends and words above it. */
  class Scale {
    constructor(parent, title) {
      this.el = element(parent, "div", "scale")
      const head = element(this.el, "div", "head")
      put_text(element(head, "b"), title)
      this.said = element(head, "b")
      this.canvas = element(this.el, "canvas", "", {width: "256", height: "1"})
      this.mark = element(this.el, "i")
      this.ends = [0, 1, 2].map(() => element(this.el, "span"))
    }

    show(numbers, share, key, paint, said = "") {
      put_text(this.said, said)
      this.ends.forEach((el, k) => put_text(el, numbers[k]))
      this.mark.hidden = !Number.isFinite(share)
      this.mark.style.left = `${100 * Math.max(0, Math.min(1, share))}%`
      if (this.key == key) return
      this.key = key
      const context = this.canvas.getContext("2d"), pixels = context.createImageData(256, 1)
      paint(pixels.data)
      context.putImageData(pixels, 0, 0)
    }
  }

  /** What is known about the crosshair and the colours, in words and two bars. */
  class Facts {
    constructor(parent, turn) {
      this.el = element(parent, "div", "facts")
      this.title = element(this.el, "div", "title")
      this.note = element(this.el, "div", "note")
      const list = element(this.el, "dl")
      const row = (name) => { put_text(element(list, "dt"), name); return element(list, "dd") }
      const three = (row, names) => names.map((name) => {
        const part = element(row, "span"), label = element(part, "b")
        put_text(label, name)
        return {label, number: part.appendChild(document.createTextNode(""))}
      })
      this.voxel = three(row("Voxel"), INDICES)
      this.mm = three(row("mm"), ["x", "y", "z"])
      this.sides = three(row(""), ["", "", ""])
      this.value = row("Volume")
      this.map = row("Map")
      this.window_scale = new Scale(this.el, "Window")
      this.map_scale = new Scale(this.el, "Map")
      this.button = element(this.el, "button", "", {type: "button"})
      this.button.addEventListener("click", turn)
      put_text(element(this.el, "div", "hint"), HINT)
    }

    say({model, scene, notes}) {
      const {grid, ijk} = scene, mm = to_mm(grid, ijk)
      put_text(this.title, model.title)
      put_text(this.note, notes.join(" · "))
      this.voxel.forEach(({number}, axis) => { number.data = ijk[axis] })
      this.mm.forEach(({number}, axis) => { number.data = tenths(mm[axis]) })
      this.sides.forEach(({label, number}, axis) => {
        put_text(label, LETTERS[axis][mm[axis] < 0 ? 0 : 1])
        number.data = tenths(Math.abs(mm[axis]))
      })
      put_text(this.button, model.radiological ? "Radiological: patient’s left on the right" : "Neurological: patient’s left on the left")
      this.say_volume(model, scene)
      this.say_map(model, scene)
    }

    say_volume({palette, window_low, window_high}, {grid, ijk, volume}) {
      const value = volume.value_at(index_of(grid, ijk)), width = window_high - window_low
      put_text(this.value, words_of(value))
      const numbers = [window_low, (window_low + window_high) / 2, window_high].map(words_of)
      this.window_scale.show(numbers, (value - window_low) / width, palette, (pixels) => {
        volume.palette.forEach((part, at) => { pixels[4 * Math.floor(at / 3) + at % 3] = part })
        for (let at = 3; at < 1024; at += 4) pixels[at] = 255
      }, `width ${words_of(width)}, level ${numbers[1]}`)
    }

    say_map({threshold}, {grid, ijk, map}) {
      for (const el of [this.map, this.map.previousSibling]) el.hidden = map == null
      this.map_scale.el.hidden = map == null || map.limit <= 0
      if (map == null) return
      const {signed, limit, palette, name} = map, value = map.value_at(index_of(grid, ijk))
      put_text(this.map, Number.isNaN(value) ? "not a number" : words_of(value))
      const numbers = signed ? [`−${words_of(limit)}`, "0", `+${words_of(limit)}`] : ["0", "", words_of(limit)]
      const share = signed ? (value / limit + 1) / 2 : value / limit
      this.map_scale.show(numbers, share, [signed, name, threshold].join(), (pixels) => {
        const values = Array.from({length: 256}, (_, i) => signed ? (i - 127.5) / 127.5 : i / 255)
        shade(pixels, values, {signed, limit: 1, table: palette, threshold, alpha_by_value: false})
      })
    }
  }

  Object.assign(kit, {FACTS_CSS, Facts})
})
