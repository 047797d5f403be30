// Lens: how all overlays of a panel are seen, and the rule that colours their maps; documented in dashboard/overlay.py.
(globalThis.vislib_parts ??= []).push((kit) => {
  "use strict"
  const {Signal0, register, register_models} = kit
  const {Model} = Bokeh.require("model")

  const LARGEST_ZOOM = 64, NEUTRAL = 128
  // What an overlay is painted anew for.
  const LOOKS = ["zoom", "centre_x", "centre_y", "show_picture", "show_map", "opacity", "palette", "diverging", "threshold",
                 "alpha_by_value", "smooth", "scale", "hover_x", "hover_y"]

  // ---- colours --------------------------------------------------------------------------------------------------

  /** The value of the strongest colour: the largest finite |value|, of an unsigned map the largest above 0. */
  function largest(values, signed) {
    let limit = 0
    for (const value of values) {
      const size = signed ? Math.abs(value) : value
      if (size > limit && size < Infinity) limit = size
    }
    return limit
  }

  /** Colours a map: the same rule as `coloured` in dashboard/palettes.py; pixels come in as zeros. */
  function shade(pixels, values, {signed, limit, table, threshold, alpha_by_value, colour}) {
    if (limit <= 0) return
    const floor = signed ? -1 : 0
    for (let i = 0, at = 0; i < values.length; i++, at += 4) {
      const share = Math.max(floor, Math.min(1, values[i] / limit)), size = Math.abs(share)
      if (!(size >= threshold)) continue  // NaN too
      if (colour != null) {
        pixels[at] = colour[at]
        pixels[at + 1] = colour[at + 1]
        pixels[at + 2] = colour[at + 2]
      } else {
        const entry = 3 * (signed ? NEUTRAL + Math.round(share * 127) : Math.round(share * 255))
        pixels[at] = table[entry]
        pixels[at + 1] = table[entry + 1]
        pixels[at + 2] = table[entry + 2]
      }
      pixels[at + 3] = alpha_by_value ? Math.round(size * 255) : 255
    }
  }

  // ---- Lens -----------------------------------------------------------------------------------------------------

  class Lens extends Model {
    initialize() {
      super.initialize()
      this.rescaled = new Signal0(this, "rescaled")
      this.limits = new Map()  // of each overlay's view: its own limit, smooth and raw
      this.parsed = new Map()
    }

    table(name) {
      if (!this.parsed.has(name)) {
        const bytes = this.luts instanceof Map ? this.luts.get(name) : this.luts[name]
        this.parsed.set(name, new Uint8Array(bytes))
      }
      return this.parsed.get(name)
    }

    /** Zoom and centre, the centre moved so that nothing beside the picture is seen. */
    get aim() {
      const zoom = Math.max(1, Math.min(LARGEST_ZOOM, this.zoom)), edge = .5 / zoom
      const inner = (centre) => Math.max(edge, Math.min(1 - edge, centre))
      return {zoom, x: inner(this.centre_x), y: inner(this.centre_y)}
    }

    /** Moves the lens; the server is told once the movement has come to rest. */
    look(zoom, x, y) {
      this.setv({zoom, centre_x: x, centre_y: y}, {sync: false})
      const {aim} = this
      this.setv({zoom: aim.zoom, centre_x: aim.x, centre_y: aim.y}, {sync: false})
      clearTimeout(this.rest)
      this.rest = setTimeout(() => {
        const {zoom, centre_x, centre_y} = this.properties
        this._push_changes([zoom, centre_x, centre_y].map((one) => [one, null, one.get_value()]), true)
      }, 200)
    }

    point(x, y) { this.setv({hover_x: x, hover_y: y}, {sync: false}) }

    measure(view, limits) {
      if (limits == null) this.limits.delete(view)
      else this.limits.set(view, limits)
      if (this.scale == "shared") this.rescaled.emit()
    }

    limit_of(view) {
      const side = this.smooth ? "smooth" : "raw"
      if (this.scale == "each") return this.limits.get(view)?.[side] ?? 0
      return Math.max(0, ...[...this.limits.values()].map((limits) => limits[side]))
    }
  }
  register(Lens, "Lens", undefined, ({Bool, Bytes, Dict, Enum, Float, Percent, Str}) => ({
    zoom: [Float, 1], centre_x: [Percent, .5], centre_y: [Percent, .5],
    show_picture: [Bool, true], show_map: [Bool, true], opacity: [Percent, .6], palette: [Str, "inferno"], diverging: [Str, "blue-red"],
    threshold: [Percent, 0], alpha_by_value: [Bool, true], smooth: [Bool, true], scale: [Enum("each", "shared"), "each"],
    hover_x: [Float, -1], hover_y: [Float, -1], luts: [Dict(Bytes), {}],
  }), "dashboard.overlay")

  register_models([Lens])
  Object.assign(kit, {LARGEST_ZOOM, LOOKS, largest, shade})
})
