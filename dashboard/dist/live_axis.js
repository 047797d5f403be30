// LiveAxis: an axis whose numbers change without moving the page; documented in dashboard/live_axis.py.
(globalThis.vislib_parts ??= []).push((kit) => {
  "use strict"
  const {register, register_models} = kit
  const {LinearAxis, LinearAxisView} = Bokeh.require("models/axes/linear_axis")
  const LEAST = 64, STEP = 16  // pixels

  class LiveAxisView extends LinearAxisView {
    get_size() {
      const {width, height} = super.get_size()
      if (height > 0) this.room = Math.max(this.room ?? LEAST, STEP * Math.ceil(height / STEP))
      return {width, height: height > 0 ? this.room : 0}
    }
  }

  class LiveAxis extends LinearAxis {}
  register(LiveAxis, "LiveAxis", LiveAxisView, () => ({}), "dashboard.live_axis")

  register_models([LiveAxis])
})
