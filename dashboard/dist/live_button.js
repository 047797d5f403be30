// LiveButton: a button whose change lays out nothing but itself; documented in dashboard/live_button.py.
(globalThis.vislib_parts ??= []).push((kit) => {
  "use strict"
  const {register, register_models} = kit
  const {Button, ButtonView} = Bokeh.require("models/widgets/button")

  class LiveButtonView extends ButtonView {
    // Bokeh asks for this at every change of the label, the type or the state, and for nothing else. That the box grew
    // or shrank is seen by Bokeh's own ResizeObserver.
    rerender() {
      const {button_el, model} = this
      if (button_el.textContent !== model.label) button_el.textContent = model.label
      button_el.disabled = model.disabled
      button_el.className = `bk-btn bk-btn-${model.button_type}`
    }
  }

  class LiveButton extends Button {}
  register(LiveButton, "LiveButton", LiveButtonView, () => ({}), "dashboard.live_button")

  register_models([LiveButton])
})
