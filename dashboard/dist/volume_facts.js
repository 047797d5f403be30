// Facts about a volume at its crosshair: a slider for each plane, words and two bars of colours; for VolumeView of dashboard/volume_view.py.
(globalThis.vislib_parts ??= []).push((kit) => {
  "use strict"
  const {element, put_text, put_attribute, number_text} = kit
  const {shade} = kit  // of lens.js
  const {INDICES, LETTERS, PLANES, own_place, to_mm} = kit  // of planes.js

  const HINT = "Wheel: slices · Shift and drag: window · Ctrl and wheel: zoom · double click: centre"

  const FACTS_CSS = `
    .facts { contain: strict; container: facts / size; overflow: hidden auto; scrollbar-width: thin; padding: 7px 4px 4px 13px; color: var(--text, #1b2027); font: 12.5px/18px var(--bokeh-base-font, sans-serif);
      font-variant-numeric: tabular-nums; }
    .facts > * { max-width: 400px; }
    .title { font-weight: 600; margin-bottom: 3px; }
    .title:empty, .note:empty { display: none; }
    .note { color: var(--warm, #9a5b00); }
    .place { display: grid; grid-template-columns: max-content minmax(30px, 1fr) 4ch 8ch 7ch; column-gap: 7px; margin-bottom: 4px; }
    .place > * { white-space: nowrap; line-height: 20px; }
    .place > .head { font-size: 11px; line-height: 13px; } .place > .head:first-child { grid-column: 3; }
    .place > .number { text-align: right; } .place > .number b { margin-right: 3px; }
    .place > .name, .place > .head, .number b { font-weight: 400; color: var(--quiet, #5b6572); }
    .name b { display: inline-block; min-width: 9px; font-weight: 400; color: var(--text, #1b2027); }
    input { appearance: none; width: 100%; min-width: 0; height: 20px; margin: 0; background: none; cursor: pointer; outline: none; }
    input:disabled { visibility: hidden; }
    input::-webkit-slider-runnable-track { height: 3px; border-radius: 2px; background: var(--line, #d8dce2); }
    input::-moz-range-track { height: 3px; border-radius: 2px; background: var(--line, #d8dce2); }
    input::-webkit-slider-thumb { appearance: none; box-sizing: border-box; width: 12px; height: 12px; margin-top: -4.5px; border-radius: 50%;
      border: 2px solid var(--accent, #0b7a6b); background: var(--surface, #fff); }
    input::-moz-range-thumb { box-sizing: border-box; width: 12px; height: 12px; border-radius: 50%; border: 2px solid var(--accent, #0b7a6b); background: var(--surface, #fff); }
    input:focus-visible { outline: 2px solid var(--accent, #0b7a6b); outline-offset: -2px; border-radius: 4px; }
    dl { display: flex; gap: 6px; margin: 0 0 5px; }
    dt { color: var(--quiet, #5b6572); } dd { margin: 0 16px 0 0; white-space: nowrap; }
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
    @container facts (max-height: 262px) { .hint, .scale.window { display: none; } }
    .hint { color: var(--quiet, #5b6572); font-size: 11px; line-height: 15px; }`

  // ---- small helpers --------------------------------------------------------------------------------------------

  const minus = (words) => words.replaceAll("-", "−")  // as wide as a plus
  const words_of = (value) => minus(number_text(value))
  const nearly = (exact) => exact ? "" : "≈ "
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

  /** One axis: a slider through the slices across it, the crosshair's voxel and where that is in the patient. */
  class Place {
    constructor(parent, axis, {move, rest}) {
      this.axis = axis
      this.plane = PLANES.find(({across}) => across == axis).name
      const name = element(parent, "span", "name")
      this.index = element(name, "b")
      name.append(` ${this.plane}`)
      this.slider = element(parent, "input", "", {type: "range", min: "0", step: "1", "aria-label": `${this.plane} slice`})
      this.slider.addEventListener("input", ({timeStamp}) => move({[axis]: this.slider.valueAsNumber}, timeStamp))
      this.slider.addEventListener("change", rest)
      const number = () => {
        const el = element(parent, "span", "number")
        return {letter: element(el, "b"), words: el.appendChild(document.createTextNode(""))}
      }
      this.voxel = number()
      this.mm = number()
      this.side = number()
      put_text(this.mm.letter, "xyz"[axis])
    }

    say(grid, at, mm) {
      const {slider, axis} = this, own = own_place(grid, axis, at), voxel = String(at), last = String(grid.shape[axis] - 1), words = tenths(mm)
      put_text(this.index, own?.letter ?? "")
      put_attribute(slider, "aria-label", `${this.plane} slice${own == null ? "" : `, voxel ${own.letter}`}`)
      if (slider.max != last) {
        slider.max = last
        slider.disabled = last == "0"
      }
      if (slider.value != voxel) slider.value = voxel
      const said = [own?.letter, own?.at, words].join(" ")
      if (this.said == said) return
      this.said = said
      put_attribute(slider, "aria-valuetext", `${own == null ? "" : `${own.at}, `}${"xyz"[axis]} ${words} mm`)
      this.voxel.words.data = own == null ? "" : String(own.at)
      this.mm.words.data = words
      put_text(this.side.letter, LETTERS[axis][mm < 0 ? 0 : 1])
      this.side.words.data = tenths(Math.abs(mm))
    }
  }

  /** What is known about the crosshair and the colours; `hands` has functions to turn the view and to move the crosshair. */
  class Facts {
    constructor(parent, hands) {
      this.el = element(parent, "div", "facts")
      this.title = element(this.el, "div", "title")
      this.note = element(this.el, "div", "note")
      const place = element(this.el, "div", "place")
      for (const name of ["voxel", "mm", ""]) put_text(element(place, "span", "number head"), name)
      this.places = INDICES.map((_, axis) => new Place(place, axis, hands))
      const list = element(this.el, "dl")
      const row = (name) => { put_text(element(list, "dt"), name); return element(list, "dd") }
      this.value = row("Volume")
      this.map = row("Map")
      this.window_scale = new Scale(this.el, "Window")
      this.window_scale.el.classList.add("window")
      this.map_scale = new Scale(this.el, "Map")
      this.button = element(this.el, "button", "", {type: "button"})
      this.button.addEventListener("click", hands.turn)
      put_text(element(this.el, "div", "hint"), HINT)
    }

    say({model, scene, notes}) {
      const {grid, ijk} = scene, mm = to_mm(grid, ijk)
      put_text(this.title, model.title)
      put_text(this.note, notes.join(" · "))
      this.places.forEach((place, axis) => place.say(grid, ijk[axis], mm[axis]))
      put_text(this.button, model.radiological ? "Radiological: patient’s left on the right" : "Neurological: patient’s left on the left")
      this.say_volume(model, scene)
      this.say_map(model, scene)
    }

    say_volume({palette, window_low, window_high}, {volume, values: {volume: value, exact}}) {
      const width = window_high - window_low
      put_text(this.value, nearly(exact.volume) + words_of(value))
      const numbers = [window_low, (window_low + window_high) / 2, window_high].map(words_of)
      this.window_scale.show(numbers, (value - window_low) / width, palette, (pixels) => {
        volume.palette.forEach((part, at) => { pixels[4 * Math.floor(at / 3) + at % 3] = part })
        for (let at = 3; at < 1024; at += 4) pixels[at] = 255
      }, `width ${words_of(width)}, level ${numbers[1]}`)
    }

    say_map({threshold}, {map, values: {map: value, label, exact}}) {
      for (const el of [this.map, this.map.previousSibling]) el.hidden = map == null
      this.map_scale.el.hidden = map == null || map.limit <= 0
      if (map == null) return
      put_text(this.map.previousSibling, map.labels == null ? "Map" : "Region")
      if (map.labels != null) {
        const {values, names} = map.labels
        const called = label == null ? "none" : names[label] == String(values[label]) ? names[label] : `${values[label]} ${names[label]}`
        put_text(this.map, nearly(exact.map) + called)
        return
      }
      const {signed, limit, palette, name} = map
      put_text(this.map, Number.isNaN(value) ? "not known" : nearly(exact.map) + words_of(value))
      const numbers = signed ? [`−${words_of(limit)}`, "0", `+${words_of(limit)}`] : ["0", "", words_of(limit)]
      const share = signed ? (value / limit + 1) / 2 : value / limit
      this.map_scale.show(numbers, share, [signed, name, threshold].join(), (pixels) => {
        const values = Array.from({length: 256}, (_, i) => signed ? (i - 127.5) / 127.5 : i / 255)
        shade(pixels, values, {signed, limit: 1, table: palette, threshold, alpha_by_value: false})
      })
    }
  }

  Object.assign(kit, {FACTS_CSS, Facts, minus, tenths})
})
