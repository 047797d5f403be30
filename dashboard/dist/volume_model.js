// VolumeView's model: the update that is shown, its colours and what the server is told; documented in dashboard/volume_view.py.
(globalThis.vislib_parts ??= []).push((kit) => {
  "use strict"
  const {LayoutDOM} = kit
  const {ModelEvent} = Bokeh.require("core/bokeh_events")
  const {INDICES, PLANES, clamp, grid_of, layer_of, map_weights, strides_of, window_words} = kit  // of planes.js

  const PAUSE = 200                           // ms between two tellings of the server
  const REST = 120                            // ms for which the crosshair rests before its planes are asked for
  const KEPT = "vislib-radiological"

  function codes_of(bytes, voxels) {
    if (bytes.byteLength == 0) return null
    return bytes.byteLength == voxels ? new Uint8Array(bytes) : bytes.byteLength == 2 * voxels ? new Uint16Array(bytes) : null
  }

  class PlaneWanted extends ModelEvent {
    constructor(values) { super(); this.values = values }
    get event_name() { return "vislib_plane_wanted" }
    get event_values() { return {...super.event_values, ...this.values} }
  }

  /** The codes of a plane of an array that holds every `step`-th voxel, as often as the plane has voxels, row after row along its columns. */
  function spread(codes, array, plane, at, [width, height]) {
    const {from, column, row, step, width: columns, height: rows} = layer_of(array, plane, at), whole = new codes.constructor(width * height)
    for (let x = 0, to = 0; x < width; x++) {
      const start = from + Math.min(columns - 1, Math.round(x / step)) * column
      for (let y = 0; y < height; y++, to++) whole[to] = codes[start + Math.min(rows - 1, Math.round(y / step)) * row]
    }
    return whole
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
      this.sharp_layers = []   // of each axis: the plane across it that came whole
      this.awaited = new Set() // axes of planes that are asked for
      if (this.tick > 0) this.take()
    }

    connect_signals() {
      super.connect_signals()
      const p = this.properties
      this.connect(p.tick.change, () => { this.take() })
      this.connect(p.stale.change, () => { if (this.stale) this.dimmed = true })
      this.connect(p.sharp.change, () => { this.take_sharp() })
      for (const name of INDICES) this.connect(p[name].change, () => { this.expect() })
      this.connect(p.radiological.change, () => {
        try { localStorage.setItem(KEPT, this.radiological) } catch { /* storage is switched off */ }
      })
    }

    // ---- updates

    take() {
      const {shape, step, affine, volume, map, map_shape, mask, value_low, value_high, map_low, map_high, signed, limit, tick} = this
      const coarse = shape.map((size) => Math.ceil(size / step)), voxels = coarse.reduce((product, size) => product * size, 1)
      const trouble = [], codes = shape.length == 3 && affine.length == 16 ? codes_of(volume, voxels) : null
      if (codes == null && volume.byteLength > 0) trouble.push("the volume cannot be read")
      const fits = map.byteLength == 2 * voxels && map_shape.join() == coarse.join()
      if (map.byteLength > 0 && !fits) trouble.push("the map cannot be read")
      if (mask.byteLength > 0 && mask.byteLength != voxels) trouble.push("the outline cannot be read")
      const array = {
        id: ++this.updates, shape: coarse, strides: strides_of(coarse), step, codes,
        map: map.byteLength > 0 && fits ? new Uint16Array(map) : null,
        mask: mask.byteLength == voxels ? new Uint8Array(mask) : null,
      }
      const grid = codes == null ? null : grid_of([...shape], [...affine])
      this.held = {id: array.id, tick, trouble, value_low, value_high, map_low, map_high, signed, limit, grid, array}
      this.made = {}
      this.dimmed = this.stale
      this.awaited.clear()
      this.sharp_layers = this.sharp_layers.map((layer) => this.with_new_map(layer))
      this.expect()
    }

    // ---- planes of a volume that is held coarsely

    /** Asks for the planes through the crosshair once it rests. */
    expect() {
      clearTimeout(this.resting)
      if (this.held?.grid == null || this.held.array.step == 1 || this.awaited.size > 0) return
      this.resting = setTimeout(() => {
        const {ijk, held: {tick}} = this
        for (const {across} of PLANES) {
          const layer = this.sharp_layers[across]
          if (layer?.at == ijk[across] && layer.exact) continue
          this.awaited.add(across)
          this.trigger_event(new PlaneWanted({tick, axis: across, index: ijk[across]}))
        }
      }, REST)
    }

    take_sharp() {
      if (this.sharp.length != 3) return void (this.sharp_layers = [])
      const [tick, across, at] = this.sharp, {held: {grid, array}, sharp_volume, sharp_map, sharp_mask} = this
      if (tick != this.held.tick) return
      const plane = PLANES.find((one) => one.across == across), [width, height] = [grid.shape[plane.columns], grid.shape[plane.rows]]
      const whole = (bytes, like) => bytes.byteLength == 0 || like == null ? null : new like.constructor(bytes)
      this.sharp_layers[across] = {
        id: ++this.updates, plane, at, exact: true, step: 1, width, height, from: 0, column: height, row: 1,
        codes: whole(sharp_volume, array.codes), map: whole(sharp_map, array.map), mask: whole(sharp_mask, array.mask),
      }
      this.awaited.delete(across)
      this.expect()
    }

    /** What is known of a plane when there is another map: that only coarsely. */
    with_new_map(layer) {
      const {map} = this.held.array
      if (map == null) return {...layer, id: ++this.updates, map: null, exact: true}
      const {plane, at, width, height} = layer
      return {...layer, id: ++this.updates, map: spread(map, this.held.array, plane, at, [width, height]), exact: false}
    }

    get ijk() {
      const {shape} = this.held.grid
      return INDICES.map((name, axis) => clamp(Math.round(this[name]), 0, shape[axis] - 1))
    }

    /** The codes of a plane: of all its voxels where they are there. */
    layer(plane, at) {
      const sharp = this.sharp_layers[plane.across]
      return sharp?.at == at ? sharp : this.coarse_layer(plane, at)
    }

    coarse_layer(plane, at) { return layer_of(this.held.array, plane, at) }

    /** The values at a voxel, and whether each is its own, not that of one nearby. */
    values_at(ijk) {
      const {held: {array, value_low, value_high, map_low, map_high}} = this
      const through = this.sharp_layers.filter((one) => one.at == ijk[one.plane.across])
      const sharp = through.find((one) => one.exact) ?? through[0]
      const {plane, ...layer} = sharp ?? {plane: PLANES[0], exact: array.step == 1, ...this.coarse_layer(PLANES[0], ijk[1])}
      const nearest = (axis, size) => Math.min(size - 1, Math.round(ijk[axis] / layer.step))
      const {codes, map} = layer, largest = codes instanceof Uint8Array ? 255 : 65535
      const index = layer.from + nearest(plane.columns, layer.width) * layer.column + nearest(plane.rows, layer.height) * layer.row
      return {
        exact: {volume: sharp != null || layer.exact, map: layer.exact},
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
