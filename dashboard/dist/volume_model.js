// VolumeView's model: the update that is shown, its colours and what the server is told; documented in dashboard/volume_view.py.
(globalThis.vislib_parts ??= []).push((kit) => {
  "use strict"
  const {LayoutDOM} = kit
  const {INDICES, clamp, grid_of, layer_of, map_weights, strides_of, window_words} = kit  // of planes.js

  const PAUSE = 200                           // ms between two tellings of the server
  const KEPT = "vislib-radiological"

  function codes_of(bytes, voxels) {
    if (bytes.byteLength == 0) return null
    return bytes.byteLength == voxels ? new Uint8Array(bytes) : bytes.byteLength == 2 * voxels ? new Uint16Array(bytes) : null
  }

  /** A volume, a map and what else is seen through views of it. */
  class VolumeModel extends LayoutDOM {
    initialize() {
      super.initialize()
      this.paints = 0     // updates painted: for tests and measurements ...
      this.timings = []   // ... and ms from an event to what it changed being painted
      this.parsed = new Map()
      this.untold = new Set()
      this.updates = 0
      this.held = null         // the update that is shown
      this.dimmed = this.stale
      this.made = {}           // tables of colours
      if (this.tick > 0) this.take()
    }

    connect_signals() {
      super.connect_signals()
      const p = this.properties
      this.connect(p.tick.change, () => { this.take() })
      this.connect(p.stale.change, () => { if (this.stale) this.dimmed = true })
      this.connect(p.radiological.change, () => {
        try { localStorage.setItem(KEPT, this.radiological) } catch { /* storage is switched off */ }
      })
    }

    // ---- updates

    take() {
      const {shape, affine, volume, map, map_shape, mask, value_low, value_high, map_low, map_high, signed, limit, tick} = this
      const trouble = [], voxels = shape.reduce((product, size) => product * size, 1)
      const codes = shape.length == 3 && affine.length == 16 ? codes_of(volume, voxels) : null
      if (codes == null && volume.byteLength > 0) trouble.push("the volume cannot be read")
      const fits = map.byteLength == 2 * voxels && map_shape.join() == shape.join()
      if (map.byteLength > 0 && !fits) trouble.push("the map cannot be read")
      if (mask.byteLength > 0 && mask.byteLength != voxels) trouble.push("the outline cannot be read")
      this.held = {
        id: ++this.updates, tick, trouble, value_low, value_high, map_low, map_high, signed, limit,
        grid: codes == null ? null : grid_of([...shape], [...affine]),
        array: {
          id: this.updates, shape: [...shape], strides: strides_of(shape), step: 1, codes,
          map: map.byteLength > 0 && fits ? new Uint16Array(map) : null,
          mask: mask.byteLength == voxels ? new Uint8Array(mask) : null,
        },
      }
      this.made = {}
      this.dimmed = this.stale
    }

    get ijk() {
      const {shape} = this.held.grid
      return INDICES.map((name, axis) => clamp(Math.round(this[name]), 0, shape[axis] - 1))
    }

    /** The codes of a plane. */
    layer(plane, at) { return this.coarse_layer(plane, at) }

    coarse_layer(plane, at) { return layer_of(this.held.array, plane, at) }

    /** The values at a voxel. */
    values_at(ijk) {
      const {array: {codes, map, strides}, value_low, value_high, map_low, map_high} = this.held
      const index = ijk.reduce((sum, at, axis) => sum + at * strides[axis], 0), largest = codes instanceof Uint8Array ? 255 : 65535
      return {
        volume: value_low + codes[index] * (value_high - value_low) / largest,
        map: map == null || map[index] == 0 ? NaN : map_low + (map[index] - 1) / 65534 * (map_high - map_low),
      }
    }

    // ---- colours

    palette_of(name) {
      if (!this.parsed.has(name)) {
        const bytes = this.luts instanceof Map ? this.luts.get(name) : this.luts[name]
        this.parsed.set(name, new Uint8Array(bytes))
      }
      return this.parsed.get(name)
    }

    /** A table made anew when what it is made from has changed. */
    table(which, parts, make) {
      const key = parts.join()
      if (this.made[which]?.key != key) this.made[which] = {key, ...make(), palette: this.palette_of(parts[1])}
      return this.made[which]
    }

    get volume_colours() {
      const {held: {id, array, value_low, value_high}, palette, window_low, window_high} = this
      const count = array.codes instanceof Uint8Array ? 256 : 65536
      return this.table("volume", [id, palette, window_low, window_high], () => ({
        table: window_words(count, {value_low, value_high, window_low, window_high}, this.palette_of(palette)),
      }))
    }

    /** The map's colours; null where none is to be seen. */
    get map_colours() {
      const {held: {id, array, map_low: low, map_high: high, signed, limit}, threshold, alpha_by_value, opacity, dimmed: faint} = this
      if (array.map == null || !this.show_map) return null
      const name = signed ? this.diverging : this.map_palette, table = this.palette_of(name)
      return this.table("map", [id, name, threshold, alpha_by_value, opacity, faint], () => ({
        signed, limit, name, weights: map_weights({low, high, signed, limit, table, threshold, alpha_by_value, opacity, faint}),
      }))
    }

    // ---- what a person changes

    recall() {
      let kept = null
      try { kept = localStorage.getItem(KEPT) } catch { /* storage is switched off */ }
      if (kept != null) this.radiological = kept == "true"
    }

    /** Puts the crosshair on a voxel, of which some axes may be left out. */
    move(ijk) {
      const {shape} = this.held.grid, changes = {}
      for (const [axis, at] of Object.entries(ijk)) changes[INDICES[axis]] = clamp(Math.round(at), 0, shape[axis] - 1)
      this.look(changes)
    }

    /** Sets what a gesture changes; the server is told at once, but not more often than every PAUSE, and with `tell`. */
    look(changes) {
      this.setv(changes, {sync: false})
      for (const name of Object.keys(changes)) this.untold.add(name)
      if (this.rest == null) this.tell()
    }

    tell() {
      clearTimeout(this.rest)
      this.rest = null
      if (this.untold.size == 0) return
      const changed = [...this.untold].map((name) => this.properties[name])
      this.untold.clear()
      this._push_changes(changed.map((one) => [one, null, one.get_value()]), true)
      this.rest = setTimeout(() => this.tell(), PAUSE)
    }

    remember(ms) {
      this.timings.push(ms)
      if (this.timings.length > 512) this.timings.shift()
    }
  }

  Object.assign(kit, {VolumeModel})
})
