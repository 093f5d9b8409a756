// The numerics of the experiment in the page: the model of the book on a state vector, in double precision. It knows no
// document, so that it runs in a worker, in the page, and in tests. What the circuit is (its gates, its outputs, where
// patches lie) comes with the data, from the library.
//
// Arrays of states are (amplitudes, images), images last: every inner loop runs along contiguous numbers. Parameters are
// one vector: the angles of circuit 1, of circuit 2, ..., then the bias of every pixel.
const experimentCore = (data) => {
  "use strict";
  const { side, qubits, classes, protocol } = data;
  const STATES = 1 << qubits, PIXELS = side * side;
  const CHUNK = 50; // images at once: their states stay in the fast cache

  // --- images and random numbers ----------------------------------------------------------------------------------

  // As the library: pixel / largest * 2 pi / qubits, in single precision.
  const unit = Math.fround((2 * Math.PI) / qubits);
  function readImages({ pixels, labels }) {
    const digits = Array.from(pixels, (digit) => parseInt(digit, data.largest + 1));
    return { count: labels.length, labels, angles: Float64Array.from(digits, (p) => Math.fround((p / data.largest) * unit)) };
  }
  const images = { train: readImages(data.train), test: readImages(data.test) };

  // The Mersenne Twister, as numpy.random.RandomState(seed) has it.
  function randomState(seed) {
    const state = new Uint32Array(624);
    state[0] = seed;
    for (let i = 1; i < 624; i++) state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
    let at = 624;
    return () => {
      if (at === 624) {
        for (let i = 0; i < 624; i++) {
          const y = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
          state[i] = state[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
        }
        at = 0;
      }
      let y = state[at++];
      y ^= y >>> 11;
      y ^= (y << 7) & 0x9d2c5680;
      y ^= (y << 15) & 0xefc60000;
      return (y ^ (y >>> 18)) >>> 0;
    };
  }

  // Where training starts: the draw of `model.init`, in single precision.
  function start(model) {
    const draw = randomState(model.seed), params = new Float64Array(model.size + PIXELS);
    for (let i = 0; i < model.size; i++) params[i] = Math.fround(((draw() & 0xffffff) / 2 ** 24) * Math.fround(Math.PI));
    return params;
  }

  // The batches of an epoch: the folds of a stratified split, as `training.batches` takes them from scikit-learn.
  function batches(labels, size, seed, epoch) {
    const draw = randomState(seed), folds = Math.floor(labels.length / size);
    let own = draw();
    for (let i = 0; i < epoch; i++) own = draw();
    const next = randomState(own), order = [...new Set(labels)];
    const sorted = labels.map((label) => order.indexOf(label)).sort((a, b) => a - b);
    const found = Array.from({ length: folds }, () => []), foldOf = new Array(labels.length);
    order.forEach((label, k) => {
      const share = [];
      for (let fold = 0; fold < folds; fold++)
        for (let i = fold; i < sorted.length; i += folds) if (sorted[i] === k) share.push(fold);
      for (let i = share.length - 1; i > 0; i--) {
        const mask = 2 ** (32 - Math.clz32(i)) - 1;
        let j = next() & mask;
        while (j > i) j = next() & mask;
        [share[i], share[j]] = [share[j], share[i]];
      }
      labels.forEach((own, i) => own === label && (foldOf[i] = share.shift()));
    });
    foldOf.forEach((fold, i) => found[fold].push(i));
    return found.map((fold) => fold.slice(0, Math.floor(labels.length / folds)));
  }

  // --- the model --------------------------------------------------------------------------------------------------

  // {n, depth, aggregation, scale, seed} with what follows from it.
  function prepare(choice) {
    const { gates, angles } = data.circuits[choice.depth], offsets = data.offsets[choice.n];
    const patches = offsets.flatMap((row) => offsets.map((column) => [row, column])).map(([row, column]) =>
      Array.from({ length: qubits * qubits }, (_, i) => (row + Math.floor(i / qubits)) * side + column + (i % qubits)));
    const factor = choice.aggregation === "mean" ? choice.scale / choice.n : choice.scale;
    return { ...choice, gates, angles, patches, factor, size: choice.n * angles };
  }

  const bit = (wire) => 1 << (qubits - 1 - wire);
  const ring = Float64Array.from({ length: STATES }, (_, z) => {
    let sign = 1;
    for (let w = 0; w < qubits; w++) if (z & bit(w) && z & bit((w + 1) % qubits)) sign = -sign;
    return sign;
  });
  const OUTPUTS = data.outputs.map(([axis, wire]) => ({ axis, bit: bit(wire) }));

  const complex = (count) => ({ re: new Float64Array(STATES * count), im: new Float64Array(STATES * count) });
  function copy(from, to) { to.re.set(from.re); to.im.set(from.im); }

  function applyRing({ re, im }, N) {
    for (let z = 0; z < STATES; z++)
      if (ring[z] < 0) for (let i = z * N; i < (z + 1) * N; i++) { re[i] = -re[i]; im[i] = -im[i]; }
  }

  // exp(-i angle/2 X) or Y on one wire; cos and sin of half the angle for every image.
  function rotate(axis, bit, cos, sin, sign, { re, im }, N) {
    for (let z = 0; z < STATES; z++) {
      if (z & bit) continue;
      for (let i = 0, a = z * N, b = (z | bit) * N; i < N; i++, a++, b++) {
        const c = cos[i], s = sign * sin[i], ra = re[a], ia = im[a], rb = re[b], ib = im[b];
        if (axis === "X") {
          re[a] = c * ra + s * ib; im[a] = c * ia - s * rb;
          re[b] = c * rb + s * ia; im[b] = c * ib - s * ra;
        } else {
          re[a] = c * ra - s * rb; im[a] = c * ia - s * ib;
          re[b] = c * rb + s * ra; im[b] = c * ib + s * ia;
        }
      }
    }
  }

  // target += rate (-i/2) P source: what turning the angle by `rate` adds to the tangent of a state.
  function addTurn(axis, bit, rate, source, target, N) {
    const h = rate / 2, { re, im } = source, { re: dr, im: di } = target;
    for (let z = 0; z < STATES; z++) {
      if (z & bit) continue;
      for (let i = 0, a = z * N, b = (z | bit) * N; i < N; i++, a++, b++) {
        if (axis === "X") {
          dr[a] += h * im[b]; di[a] -= h * re[b];
          dr[b] += h * im[a]; di[b] -= h * re[a];
        } else {
          dr[a] -= h * re[b]; di[a] -= h * im[b];
          dr[b] += h * re[a]; di[b] += h * im[a];
        }
      }
    }
  }

  // Im <left| P |right>, summed over images: the derivative with respect to the angle of a gate, from the states after it.
  function correlate(axis, bit, left, right, N) {
    const { re: lr, im: li } = left, { re: sr, im: si } = right;
    let sum = 0;
    for (let z = 0; z < STATES; z++) {
      if (z & bit) continue;
      for (let i = 0, a = z * N, b = (z | bit) * N; i < N; i++, a++, b++)
        sum += axis === "X"
          ? lr[a] * si[b] - li[a] * sr[b] + lr[b] * si[a] - li[b] * sr[a]
          : lr[b] * sr[a] + li[b] * si[a] - lr[a] * sr[b] - li[a] * si[b];
    }
    return sum;
  }

  // Re <left| O_k |right> for every output k and image, added to `out` (classes, images) with a factor.
  function measure(left, right, factor, out, N) {
    OUTPUTS.forEach(({ axis, bit }, k) => {
      for (let z = 0; z < STATES; z++) {
        const other = axis === "X" ? z ^ bit : z, sign = axis === "Z" && z & bit ? -factor : factor;
        for (let i = 0, a = z * N, b = other * N, o = k * N; i < N; i++, a++, b++, o++)
          out[o] += sign * (left.re[a] * right.re[b] + left.im[a] * right.im[b]);
      }
    });
  }

  // target += factor sum_k rates[k] O_k source.
  function addOutputs(rates, factor, source, target, N) {
    OUTPUTS.forEach(({ axis, bit }, k) => {
      for (let z = 0; z < STATES; z++) {
        const other = axis === "X" ? z ^ bit : z, sign = axis === "Z" && z & bit ? -factor : factor;
        for (let i = 0, a = z * N, b = other * N, o = k * N; i < N; i++, a++, b++, o++) {
          target.re[a] += sign * rates[o] * source.re[b];
          target.im[a] += sign * rates[o] * source.im[b];
        }
      }
    });
  }

  // Loss, its gradient (if wanted) and the product of its Hessian with a direction (if one is given), summed over the
  // images `index` of a set, all with the same weight. Exact: reverse mode by running the circuit backwards, and for the
  // product forward mode over it, so that every state, forwards and backwards, has a tangent.
  function derivatives(model, params, set, { index = null, gradient = false, direction = null } = {}) {
    const all = index || Array.from({ length: set.count }, (_, i) => i);
    const total = { loss: 0, hits: 0, logits: [] };
    if (gradient || direction) total.gradient = new Float64Array(params.length);
    if (direction) total.product = new Float64Array(params.length);
    for (let first = 0; first < all.length; first += CHUNK)
      chunk(model, params, set, all.slice(first, first + CHUNK), 1 / all.length, direction, total);
    return { ...total, accuracy: total.hits / all.length };
  }

  function chunk(model, params, set, index, weight, direction, total) {
    const N = index.length, { gates, patches, factor } = model, bias = model.size;
    const tables = Array.from({ length: PIXELS }, (_, pixel) => {
      const half = index.map((image) => (set.angles[image * PIXELS + pixel] + params[bias + pixel]) / 2);
      return [Float64Array.from(half, Math.cos), Float64Array.from(half, Math.sin)];
    });
    const constant = [new Float64Array(N), new Float64Array(N)];
    // where a gate's angle lies among all parameters, and cos and sin of half the angle
    const place = (gate, patch) => (gate.parameter === undefined ? bias + patches[patch][gate.pixel] : patch * model.angles + gate.parameter);
    function turns(gate, patch) {
      if (gate.parameter === undefined) return tables[patches[patch][gate.pixel]];
      const half = params[place(gate, patch)] / 2;
      constant[0].fill(Math.cos(half));
      constant[1].fill(Math.sin(half));
      return constant;
    }

    const z = new Float64Array(classes * N), dz = new Float64Array(classes * N);
    const ends = patches.map((_, patch) => {
      const s = complex(N), ds = direction && complex(N);
      s.re.fill(1, 0, N);
      for (const gate of gates) {
        if (gate.ring) {
          applyRing(s, N);
          if (ds) applyRing(ds, N);
          continue;
        }
        const [cos, sin] = turns(gate, patch), wire = bit(gate.wire);
        rotate(gate.axis, wire, cos, sin, 1, s, N);
        if (!ds) continue;
        rotate(gate.axis, wire, cos, sin, 1, ds, N);
        addTurn(gate.axis, wire, direction[place(gate, patch)], s, ds, N);
      }
      measure(s, s, factor, z, N);
      if (ds) measure(s, ds, 2 * factor, dz, N);
      return { s, ds };
    });

    // cross-entropy; `rates` is its gradient in the logits, weighted, and `dRates` the derivative of that
    const rates = new Float64Array(classes * N), dRates = new Float64Array(classes * N);
    for (let i = 0; i < N; i++) {
      const own = Array.from({ length: classes }, (_, k) => z[k * N + i]), label = set.labels[index[i]];
      const top = Math.max(...own), exps = own.map((v) => Math.exp(v - top)), sum = exps.reduce((a, b) => a + b);
      total.logits.push(own);
      total.loss += weight * (top + Math.log(sum) - own[label]);
      total.hits += own.indexOf(top) === label;
      const p = exps.map((v) => v / sum), mean = p.reduce((a, v, k) => a + v * dz[k * N + i], 0);
      p.forEach((v, k) => {
        rates[k * N + i] = weight * (v - (k === label));
        dRates[k * N + i] = weight * v * (dz[k * N + i] - mean);
      });
    }
    if (!total.gradient) return;

    ends.forEach(({ s, ds }, patch) => {
      const left = complex(N), dLeft = direction && complex(N);
      addOutputs(rates, factor, s, left, N);
      if (direction) {
        addOutputs(dRates, factor, s, dLeft, N);
        addOutputs(rates, factor, ds, dLeft, N);
      }
      for (let g = gates.length - 1; g >= 0; g--) {
        const gate = gates[g];
        if (gate.ring) {
          for (const state of direction ? [s, left, ds, dLeft] : [s, left]) applyRing(state, N);
          continue;
        }
        const [cos, sin] = turns(gate, patch), wire = bit(gate.wire), at = place(gate, patch);
        total.gradient[at] += correlate(gate.axis, wire, left, s, N);
        rotate(gate.axis, wire, cos, sin, -1, s, N);
        rotate(gate.axis, wire, cos, sin, -1, left, N);
        if (!direction) continue;
        // ds and dLeft still belong to the place after the gate; the gate and its generator commute
        rotate(gate.axis, wire, cos, sin, -1, ds, N);
        rotate(gate.axis, wire, cos, sin, -1, dLeft, N);
        total.product[at] += correlate(gate.axis, wire, dLeft, s, N) + correlate(gate.axis, wire, left, ds, N);
        addTurn(gate.axis, wire, -direction[at], s, ds, N);
        addTurn(gate.axis, wire, -direction[at], left, dLeft, N);
      }
    });
  }

  // --- training and the largest eigenvalue ------------------------------------------------------------------------

  // Adam with weight decay added to the gradient and a periodic cosine rate, as `patchscape.learning.training`; yields
  // after every epoch, and returns the parameters with the least loss over all training images.
  function* train(model) {
    const { learning_rate, weight_decay, epochs, batch_size, lr_half_period } = protocol;
    const params = start(model), m = new Float64Array(params.length), v = new Float64Array(params.length);
    let best = { loss: Infinity }, step = 0;
    for (let epoch = 0; epoch < epochs; epoch++) {
      const rate = (learning_rate * (1 + Math.cos((Math.PI * epoch) / lr_half_period))) / 2;
      for (const index of batches(images.train.labels, batch_size, model.seed, epoch)) {
        const { gradient } = derivatives(model, params, images.train, { index, gradient: true });
        step++;
        for (let i = 0; i < params.length; i++) {
          const g = gradient[i] + weight_decay * params[i];
          m[i] = 0.9 * m[i] + 0.1 * g;
          v[i] = 0.999 * v[i] + 0.001 * g * g;
          params[i] -= (rate * (m[i] / (1 - 0.9 ** step))) / (Math.sqrt(v[i] / (1 - 0.999 ** step)) + 1e-8);
        }
      }
      const { loss, accuracy } = derivatives(model, params, images.train);
      if (loss < best.loss) best = { loss, accuracy, epoch, params: params.slice() };
      yield { kind: "epoch", epoch, epochs, loss, params };
    }
    return best;
  }

  const dot = (a, b) => { let sum = 0; for (let i = 0; i < a.length; i++) sum += a[i] * b[i]; return sum; };
  const add = (a, factor, b) => { for (let i = 0; i < a.length; i++) a[i] += factor * b[i]; };
  const length = (a) => Math.sqrt(dot(a, a));

  // Largest eigenvalue of a symmetric tridiagonal matrix (diagonal a, beside it b) and the last entry of its unit vector.
  function topOfTridiagonal(a, b) {
    const k = a.length, radius = a.map((v, i) => Math.abs(b[i - 1] || 0) + (i < k - 1 ? Math.abs(b[i]) : 0));
    let [low, high] = [Math.max(...a), Math.max(...a.map((v, i) => v + radius[i]))];
    const above = (x) => { // whether x is above every eigenvalue: all pivots of T - x are negative
      let pivot = a[0] - x;
      for (let i = 1; i < k && pivot < 0; i++) pivot = a[i] - x - (b[i - 1] * b[i - 1]) / pivot;
      return pivot < 0;
    };
    for (let i = 0; i < 200 && high - low > 1e-15 * (Math.abs(low) + Math.abs(high)); i++) {
      const middle = (low + high) / 2;
      if (middle === low || middle === high) break;
      if (above(middle)) high = middle; else low = middle;
    }
    // inverse iteration just above the eigenvalue, where elimination needs no pivoting
    const shift = high + 1e-13 * Math.max(Math.abs(high), 1e-300);
    let x = new Array(k).fill(1);
    for (let turn = 0; turn < 3; turn++) {
      const pivots = [a[0] - shift], y = [x[0]];
      for (let i = 1; i < k; i++) {
        const f = b[i - 1] / pivots[i - 1];
        pivots.push(a[i] - shift - f * b[i - 1]);
        y.push(x[i] - f * y[i - 1]);
      }
      for (let i = k - 1; i >= 0; i--) y[i] = (y[i] - (i < k - 1 ? b[i] * y[i + 1] : 0)) / pivots[i];
      const norm = length(y);
      x = y.map((v) => v / norm);
    }
    return { value: high, vector: x };
  }

  // Lanczos' method with full reorthogonalisation; yields after every product. The residual that it ends with is that of
  // the pair itself, ||H v - lambda v||, from one more product.
  function* largestEigenvalue(matvec, size, { tolerance = 1e-6, most = 120 } = {}) {
    const draw = randomState(0), basis = [Float64Array.from({ length: size }, () => draw() / 2 ** 32 - 0.5)];
    const scale = 1 / length(basis[0]), a = [], b = [];
    basis[0] = basis[0].map((v) => v * scale);
    for (let k = 0; k < Math.min(most, size); k++) {
      const w = Float64Array.from(matvec(basis[k]));
      a.push(dot(w, basis[k]));
      for (let turn = 0; turn < 2; turn++) for (const v of basis) add(w, -dot(w, v), v);
      const beta = length(w), { value, vector } = topOfTridiagonal(a, b), residual = beta * Math.abs(vector[k]);
      yield { kind: "product", products: k + 1, lambda: value, residual };
      if (residual <= tolerance * Math.abs(value) || beta < 1e-12 * Math.abs(value) || k + 1 === Math.min(most, size)) {
        const ritz = new Float64Array(size);
        vector.forEach((share, j) => add(ritz, share, basis[j]));
        const image = Float64Array.from(matvec(ritz)), norm = length(ritz);
        add(image, -value, ritz);
        return { lambda: value, residual: length(image) / norm, products: k + 2, vector: ritz };
      }
      b.push(beta);
      basis.push(w.map((v) => v / beta));
    }
  }

  // One run: training, then the curvature at its minimum over all training images, for all angles and the bias.
  function* run(choice) {
    const model = prepare(choice), training = train(model);
    let state = training.next();
    for (; !state.done; state = training.next()) {
      const { params, ...told } = state.value;
      yield told;
    }
    const { params, ...minimum } = state.value;
    const test = derivatives(model, params, images.test);
    const product = (direction) => derivatives(model, params, images.train, { direction }).product;
    const search = largestEigenvalue(product, params.length);
    for (state = search.next(); !state.done; state = search.next()) yield state.value;
    const { vector, ...found } = state.value;
    yield { kind: "result", choice, size: params.length, ...minimum, testLoss: test.loss, testAccuracy: test.accuracy, ...found };
  }

  return { images, prepare, start, batches, derivatives, train, largestEigenvalue, run };
};
