// Upload: a file from the browser in pieces; its properties are documented where Python declares them, in dashboard/upload.py.
(globalThis.vislib_parts ??= []).push((kit) => {
  "use strict"
  const {LayoutDOM, LayoutDOMView, Signal0, TYPING, element, put_attribute, put_text, register, register_models} = kit
  const {ModelEvent} = Bokeh.require("core/bokeh_events")

  const CHUNK = 4 << 20, SHOWN_FOR = 9000

  const CSS = `
    :host { position: relative; display: inline-flex; align-items: stretch; }
    button { font: inherit; font-size: var(--bokeh-font-size, 12px); color: var(--text, #1b2027); background: var(--surface, #fff); border: 1px solid var(--line, #d8dce2);
      border-radius: 4px; padding: 4px 9px; margin: 0; line-height: normal; cursor: pointer; white-space: nowrap; }
    button:hover { background: var(--sunken, #eceef1); border-color: var(--quiet, #5b6572); }
    button:focus-visible { outline: 2px solid var(--accent, #0b7a6b); outline-offset: 1px; }
    button:disabled { color: var(--quiet, #5b6572); background: var(--sunken, #eceef1); border-color: var(--line, #d8dce2); cursor: default; }
    .main { flex: 1; min-width: 0; overflow: hidden; text-overflow: ellipsis; font-variant-numeric: tabular-nums; }
    .main.sending { cursor: default; border-color: var(--line, #d8dce2); border-radius: 4px 0 0 4px;
      background: linear-gradient(90deg, var(--accent-soft, #d5ece8) calc(100% * var(--share)), var(--surface, #fff) 0); }
    .cancel { border-left: 0; border-radius: 0 4px 4px 0; padding: 4px 8px; color: var(--quiet, #5b6572); }
    [hidden] { display: none; }
    .said, .zone { border: 0; margin: 0; padding: 0; inset: auto; color: var(--text, #1b2027); font: 13px/1.45 var(--bokeh-base-font, sans-serif); }
    .said { position: fixed; max-width: 340px; padding: 8px 12px; border: 1px solid var(--line, #d8dce2); border-left: 3px solid var(--danger, #b3261e);
      border-radius: 4px; background: var(--surface, #fff); box-shadow: 0 4px 16px var(--shadow, rgba(0, 0, 0, .2)); }
    .zone { position: fixed; inset: 0; width: 100vw; height: 100vh; max-width: none; max-height: none; padding: 14px; box-sizing: border-box;
      background: color-mix(in srgb, var(--page, #f4f5f7) 82%, transparent); pointer-events: none; }
    .zone > div { height: 100%; box-sizing: border-box; display: flex; flex-direction: column; gap: 4px; align-items: center; justify-content: center;
      border: 2px dashed var(--accent, #0b7a6b); border-radius: 10px; font-size: 20px; font-weight: 600; }
    .zone small { font-size: 13px; font-weight: 400; color: var(--quiet, #5b6572); }`

  class UploadChunk extends ModelEvent {
    constructor(values) { super(); this.values = values }
    get event_name() { return "vislib_upload_chunk" }
    get event_values() { return {...super.event_values, ...this.values} }
  }

  class UploadCancelled extends ModelEvent {
    get event_name() { return "vislib_upload_cancelled" }
  }

  function size_text(size) {
    for (const [unit, one] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
      if (size >= one) return `${Number((size / one).toPrecision(3))} ${unit}`
    }
    return `${size} bytes`
  }

  /** Whether a file is of a kind that an `accept` attribute names; names end as they end, whatever their case. */
  function accepts(accept, {name, type}) {
    const kinds = accept.toLowerCase().split(",").map((kind) => kind.trim()).filter((kind) => kind != "")
    return kinds.length == 0 || kinds.some((kind) =>
      kind.startsWith(".") ? name.toLowerCase().endsWith(kind) :
      kind.endsWith("/*") ? type.startsWith(kind.slice(0, -1)) : type == kind)
  }

  class UploadView extends LayoutDOMView {
    get child_models() { return [] }

    stylesheets() { return [...super.stylesheets(), CSS] }

    connect_signals() {
      super.connect_signals()
      const {model} = this, p = model.properties
      this.on_change([p.label, p.accept, p.words, p.limit, p.progress, p.disabled], () => this.refresh())
      this.connect(model.told, () => { this.tell() })
      this.ears = [
        [window, "dragenter", (event) => this.drag(event)], [window, "dragover", (event) => this.drag(event)],
        [window, "dragleave", (event) => { if (event.relatedTarget == null) this.show_zone(false) }],
        [window, "drop", (event) => this.drop(event)], [window, "pointermove", () => this.show_zone(false)],
        [document, "paste", (event) => this.paste(event)],
      ]
      for (const [target, name, ear] of this.ears) target.addEventListener(name, ear)
    }

    remove() {
      for (const [target, name, ear] of this.ears) target.removeEventListener(name, ear)
      clearTimeout(this.hiding)
      super.remove()
    }

    render() {
      super.render()
      this.input = element(this.shadow_el, "input", "", {type: "file", hidden: "", tabindex: "-1", "aria-hidden": "true"})
      this.button = element(this.shadow_el, "button", "main", {type: "button"})
      this.cancel = element(this.shadow_el, "button", "cancel", {type: "button", title: "Cancel the upload", "aria-label": "Cancel the upload"})
      this.cancel.textContent = "✕"
      this.said = element(this.shadow_el, "div", "said", {popover: "manual", role: "alert"})
      this.zone = element(this.shadow_el, "div", "zone", {popover: "manual"})
      const inner = element(this.zone, "div")
      this.zone_words = element(inner, "span")
      this.zone_limit = element(inner, "small")
      this.button.addEventListener("click", () => { if (!this.model.sending) this.input.click() })
      this.cancel.addEventListener("click", () => { this.model.cancel(); this.button.focus() })
      this.input.addEventListener("change", () => {
        this.model.offer([...this.input.files])
        this.input.value = ""  // the same file again is a change, too
      })
      this.refresh()
    }

    refresh() {
      const {model, button} = this, {progress, sending} = model
      put_text(button, sending ? `Uploading ${Math.floor(100 * Math.max(0, progress))} %` : model.label)
      button.classList.toggle("sending", sending)
      button.style.setProperty("--share", Math.max(0, progress))
      button.disabled = model.disabled
      put_attribute(button, "aria-busy", String(sending))
      put_attribute(this.input, "accept", model.accept)
      this.cancel.hidden = !sending
      put_text(this.zone_words, model.words)
      put_text(this.zone_limit, `up to ${size_text(model.limit)}`)
    }

    /** Shows or hides what is wrong, below the button and above all else. */
    tell() {
      const {problem} = this.model
      put_text(this.said, problem)
      clearTimeout(this.hiding)
      if (problem == "") return this.said.hidePopover()
      this.said.showPopover()
      const {left, bottom} = this.button.getBoundingClientRect(), {offsetWidth: w, offsetHeight: h} = this.said
      const [x, y] = [Math.max(8, Math.min(left, innerWidth - w - 8)), Math.max(8, Math.min(bottom + 6, innerHeight - h - 8))]
      Object.assign(this.said.style, {left: `${x}px`, top: `${y}px`})
      this.hiding = setTimeout(() => { this.model.tell("") }, SHOWN_FOR)
    }

    get listens() { return !this.model.disabled && this.model.visible }

    show_zone(shown) {
      if (this.zone?.matches(":popover-open") == shown) return
      if (shown) this.zone?.showPopover()
      else this.zone?.hidePopover()
    }

    carries_files(event) {
      return this.model.dropping && this.listens && event.dataTransfer?.types.includes("Files") && !event.defaultPrevented
    }

    drag(event) {
      if (!this.carries_files(event)) return
      event.preventDefault()  // else the browser would leave the page for the file
      event.dataTransfer.dropEffect = "copy"
      this.show_zone(true)
    }

    drop(event) {
      this.show_zone(false)
      if (!this.carries_files(event)) return
      event.preventDefault()
      this.model.offer([...event.dataTransfer.files])
    }

    paste(event) {
      const typing = event.composedPath().some((el) => el.matches?.(TYPING))
      if (!this.model.pasting || !this.listens || typing || event.defaultPrevented) return
      const pictures = [...event.clipboardData?.files ?? []].filter((file) => file.type.startsWith("image/"))
      if (pictures.length == 0) return
      event.preventDefault()
      this.model.offer(pictures.slice(0, 1))
    }
  }

  class Upload extends LayoutDOM {
    initialize() {
      super.initialize()
      this.told = new Signal0(this, "told")
      this.problem = ""
      this.file = null
      this.transfer = 0
    }

    connect_signals() {
      super.connect_signals()
      this.connect(this.properties.answer.change, () => { this.hear(...this.answer) })
    }

    get sending() { return this.file != null }

    tell(problem) {
      if (this.problem == problem) return
      this.problem = problem
      this.told.emit()
    }

    /** Begins to send a file, or says why not. */
    offer(files) {
      if (files.length == 0) return
      const [file] = files, {name, size} = file
      this.tell("")
      if (this.sending) this.tell("A file is being uploaded: cancel it first, or wait.")
      else if (files.length > 1) this.tell(`${files.length} files were given: upload one at a time.`)
      else if (!accepts(this.accept, file)) this.tell(`${name} is of another kind than can be opened here: ${this.accept.replaceAll(",", ", ")}.`)
      else if (size == 0) this.tell(`${name} is empty: choose another file.`)
      else if (size > this.limit) this.tell(`${name} has ${size_text(size)}: up to ${size_text(this.limit)} can be taken here.`)
      else {
        this.file = file
        this.transfer += 1
        this.progress = 0
        this.send(0)
      }
    }

    async send(seq) {
      const {file, transfer} = this, {name, size} = file
      let chunk
      try {
        chunk = await file.slice(seq * CHUNK, (seq + 1) * CHUNK).arrayBuffer()
      } catch (error) {
        if (this.transfer == transfer) this.stop(`${name} could not be read (${error.message}): choose it again.`)
        return
      }
      if (this.file !== file || this.transfer != transfer) return
      this.trigger_event(new UploadChunk({transfer, name, size, seq, chunk}))
    }

    hear(transfer, next, problem) {
      if (!this.sending || transfer != this.transfer) return
      if (next < 0) return this.stop(problem)
      this.progress = Math.min(1, next * CHUNK / this.file.size)
      this.send(next)
    }

    stop(problem = "") {
      this.file = null
      this.progress = -1
      this.tell(problem)
    }

    cancel() {
      if (!this.sending) return
      this.transfer += 1  // what is on its way belongs to nothing any more
      this.stop()
      this.trigger_event(new UploadCancelled())
    }
  }
  register(Upload, "Upload", UploadView, ({Bool, Float, Int, Str, Tuple}) => ({
    label: [Str, "Upload…"], accept: [Str, ""], words: [Str, "Drop the file to open it"], limit: [Int, 64 << 20],
    dropping: [Bool, true], pasting: [Bool, true], progress: [Float, -1], answer: [Tuple(Int, Int, Str), [0, -1, ""]],
  }), "dashboard.upload")
  Upload.override({margin: 5})  // as every widget has it

  register_models([Upload])
})
