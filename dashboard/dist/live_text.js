// LiveText: words whose change lays out nothing but themselves; documented in dashboard/live_text.py.
(globalThis.vislib_parts ??= []).push((kit) => {
  "use strict"
  const {register, register_models} = kit
  const {Div, DivView} = Bokeh.require("models/widgets/div")

  class LiveTextView extends DivView {
    render() {
      super.render()
      this.drawn = this.model.text
    }

    // Bokeh asks for this at every change of the model. Whatever is not the words has a listener of its own, and
    // that the box grew or shrank is seen by Bokeh's own ResizeObserver.
    rerender() {
      const {text} = this.model
      if (text === this.drawn) return
      if (this.model.render_as_text) this.markup_el.textContent = text
      else this.markup_el.innerHTML = text
      this.drawn = text
    }
  }

  class LiveText extends Div {}
  register(LiveText, "LiveText", LiveTextView, () => ({}), "dashboard.live_text")

  register_models([LiveText])
})
