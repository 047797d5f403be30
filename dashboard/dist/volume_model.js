// VolumeView's model: the update that is shown, its colours and what the server is told; documented in dashboard/volume_view.py.
(globalThis.vislib_parts ??= []).push((kit) => {
  "use strict"
  const {LayoutDOM} = kit
  const {ModelEvent} = Bokeh.require("core/bokeh_events")
  const {FAINT, INDICES, PLANES, bounds_of, clamp, grid_of, label_words, layer_of, map_weights, strides_of, window_words} = kit  // of planes.js

  const AXIAL = PLANES[2]
  const PAUSE = 200                           // ms between two tellings of the server
  const REST = 120                            // ms for which the crosshair rests before its planes are asked for
  const PIECE = 4                             // ms of work before the browser may do something else
  const DEEP = 8                              // slices that are copied at once

  function codes_of(bytes, voxels) {
    if (bytes.byteLength == 0) return null
    return bytes.byteLength == voxels ? new Uint8Array(bytes) : bytes.byteLength == 2 * voxels ? new Uint16Array(bytes) : null
  }

  const idle = globalThis.requestIdleCallback == null
    ? (work) => setTimeout(() => work({timeRemaining: () => PIECE}), 50)
    : (work) => requestIdleCallback(work, {timeout: 300})

  /** Runs a generator in pieces whenever the browser has nothing else to do, as long as `wanted()`; `hear` is told of each piece. */
  function at_leisure(work, wanted, hear = () => {}) {
    idle((deadline) => {
      if (!wanted()) return
      const start = performance.now()
      let done = false
      do done = work.next().done
      while (!done && performance.now() - start < PIECE && (deadline.didTimeout || deadline.timeRemaining() > 1))
      hear(done, performance.now() - start)
      if (!done) at_leisure(work, wanted, hear)
    })
  }

  /** Copies of axial slices near the one that is seen: their voxels lie far apart in the array and would take the longest to cut. */
  class Nearby {
    constructor(array) { Object.assign(this, {array, blocks: new Map(), gone: false}) }

    /** The layer, read from a copy if there is one. */
    better(layer) {
      const {array: {shape}} = this, copy = this.blocks.get(Math.floor(layer.slice / DEEP))
      return copy == null ? layer : {...layer, ...copy, from: layer.slice % DEEP * shape[0] * shape[1], column: shape[1], row: 1}
    }

    /** Copies what is around a slice and forgets the rest. */
    look(slice) {
      this.newest = slice
      const here = Math.floor(slice / DEEP), {array: {shape}, blocks} = this
      const wanted = [here, here + 1, here - 1].filter((block) => block >= 0 && block * DEEP < shape[2])
      for (const block of [...blocks.keys()]) if (!wanted.includes(block)) blocks.delete(block)
      const next = wanted.find((block) => !blocks.has(block))
      if (this.busy || next == null) return
      this.busy = true
      at_leisure(this.copy(next), () => !this.gone, (done) => {
        if (!done) return
        this.busy = false
        this.look(this.newest)
      })
    }

    *copy(block) {
      const {array: {codes, map, mask, shape: [nx, ny, nz]}} = this, depth = Math.min(DEEP, nz - block * DEEP)
      const make = (from) => from == null ? null : new from.constructor(depth * nx * ny)
      const found = {codes: make(codes), map: make(map), mask: make(mask)}
      const pairs = [[codes, found.codes], [map, found.map], [mask, found.mask]].filter(([from]) => from != null)
      for (let x = 0, at = 0; x < nx; x++, yield) {
        for (let y = 0; y < ny; y++, at++) {
          const start = at * nz + block * DEEP
          for (const [from, to] of pairs) for (let z = 0; z < depth; z++) to[z * nx * ny + at] = from[start + z]
        }
      }
      this.blocks.set(block, found)
    }
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
      this.connect(p.k.change, () => { this.look_near() })
    }

    // ---- updates

    take() {
      const {shape, step, affine, own_axes, own_back, volume, map, map_shape, mask, value_low, value_high, map_low, map_high, signed, limit, tick} = this
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
      array.bounds = this.known_bounds(array)
      const grid = codes == null ? null : grid_of([...shape], [...affine], {axes: [...own_axes], back: [...own_back]})
      const {label_values, label_names, label_colours, probabilities, probability_name} = this
      const labels = array.map == null || label_values.length == 0 ? null
        : {values: [...label_values], names: [...label_names], colours: new Uint8Array(label_colours)}
      this.held = {labels, probabilities: [...probabilities], probability_name, id: array.id, tick, trouble, value_low, value_high, map_low, map_high, signed, limit, grid, array}
      this.made = {}
      this.dimmed = this.stale
      if (this.nearby != null) this.nearby.gone = true
      this.nearby = new Nearby(array)
      this.look_near()
      this.awaited.clear()
      this.sharp_layers = this.sharp_layers.map((layer) => this.with_new_map(layer))
      this.expect()
    }

    /** Where something of the mask is, looked for once. */
    known_bounds(array) {
      const {shape, mask} = array, old = this.bounded
      if (mask == null) this.bounded = null
      else if (old?.buffer !== mask.buffer || old.shape.join() != shape.join()) this.bounded = {buffer: mask.buffer, shape, bounds: bounds_of(mask, array)}
      return this.bounded?.bounds ?? null
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
        id: ++this.updates, plane, at, slice: at, exact: true, step: 1, width, height, from: 0, column: height, row: 1,
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

    look_near() {
      if (this.held?.grid != null) this.nearby.look(this.coarse_layer(AXIAL, this.ijk[2]).slice)
    }

    get ijk() {
      const {shape} = this.held.grid
      return INDICES.map((name, axis) => clamp(Math.round(this[name]), 0, shape[axis] - 1))
    }

    /** The codes of a plane: of all its voxels where they are there. */
    layer(plane, at) {
      const sharp = this.sharp_layers[plane.across]
      if (sharp?.at == at) return sharp
      const layer = this.coarse_layer(plane, at)
      return plane === AXIAL ? this.nearby.better(layer) : layer
    }

    coarse_layer(plane, at) { return layer_of(this.held.array, plane, at) }

    /** The values at a voxel, and whether each is its own, not that of one nearby. */
    values_at(ijk) {
      const {held: {array, value_low, value_high, map_low, map_high, labels}} = this
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
        label: map == null || labels == null || map[index] == 0 ? null : map[index] - 1,
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
      const {held: {id, array, labels, map_low: low, map_high: high, signed, limit}, threshold, alpha_by_value, opacity, dimmed: faint} = this
      if (array.map == null || !this.show_map) return null
      if (labels != null) {
        return this.table("labels", [id, "grey", opacity, faint], () => ({labels, limit: 0, table: label_words(labels, opacity * (faint ? FAINT : 1))}))
      }
      const name = signed ? this.diverging : this.map_palette, table = this.palette_of(name)
      return this.table("map", [id, name, threshold, alpha_by_value, opacity, faint], () => ({
        signed, limit, name, weights: map_weights({low, high, signed, limit, table, threshold, alpha_by_value, opacity, faint}),
      }))
    }

    // ---- what a person changes

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

  Object.assign(kit, {VolumeModel, at_leisure})
})
