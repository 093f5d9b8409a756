(() => {
  "use strict";
  const { W, H, LEFT, BOTTOM, TOP, RIGHT, xml, scale, polyline, digits } = plots;
  const root = document.querySelector(".explorer");
  const live = root.querySelector(".explorer-live");
  const { runs, n_train: images } = JSON.parse(document.getElementById("explorer-data").textContent);
  const surfaces = root.querySelectorAll("[data-surface]");
  const find = (selector) => root.querySelector(selector);
  const HOME = { turn: -0.65, tilt: 0.62, zoom: 1 };
  const eye = { ...HOME };
  const unique = (values) => [...new Set(values)].sort((a, b) => a - b);
  const seen = runs.filter((r) => Object.keys(r.views).length);
  const start = seen.filter((r) => r.n === 4).pop() || seen[0] || runs[0];
  const chosen = { n: start.n, d: start.d, seed: start.seeds[0], view: "pca_wide", other: "", epoch: Infinity };
  const NAMES = {
    pca_wide: ["first component", "second component", "rad"],
    pca_near: ["first component", "second component", "rad"],
    pca_author: ["first component", "second component", "rad"],
    eigen: ["first eigenvector", "second eigenvector", "rad"],
    random_0: ["random 1", "random 2", "lengths of φ"],
    random_1: ["random 1", "random 2", "lengths of φ"],
  };
  const VIRIDIS = ["440154", "482878", "3e4989", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725"].map(
    (hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)),
  );

  // one scale of heights for everything: thousandths of log10(loss in nats)
  let low = Infinity, high = -Infinity;
  for (const run of runs)
    for (const view of Object.values(run.views))
      for (const name of Object.keys(NAMES))
        for (const z of view[name].z) { low = Math.min(low, z); high = Math.max(high, z); }
  const share = (z) => Math.min(1, Math.max(0, (z - low) / (high - low)));

  function tint(z, shade = 1) {
    const place = share(z) * (VIRIDIS.length - 1), i = Math.min(VIRIDIS.length - 2, Math.floor(place)), f = place - i;
    const mix = VIRIDIS[i].map((c, k) => Math.round(shade * (c + f * (VIRIDIS[i + 1][k] - c))));
    return `rgb(${mix.join(",")})`;
  }

  const style = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const run = (at = chosen) => runs.find((r) => r.n === at.n && r.d === at.d);
  const number = (at = chosen) => run(at).seeds.indexOf(at.seed);
  const last = () => run().train_loss[0].length; // epochs trained
  const epoch = () => Math.min(chosen.epoch, last());
  const name = (at) => `n = ${at.n}, d = ${at.d}, seed ${at.seed}`;
  // every run with a surface: what can be put beside another
  const stored = runs.flatMap((r) => Object.keys(r.views).map((seed) => ({ n: r.n, d: r.d, seed: Number(seed) })));
  const beside = () => stored.find((at) => name(at) === chosen.other);

  // --- the surface -------------------------------------------------------------------------------------------------

  function projector(width, height) {
    const size = Math.min((width < 520 ? 0.35 : 0.4) * width, 0.46 * height) * eye.zoom; // a phone needs room for numbers
    const [ct, st, ce, se] = [Math.cos(eye.turn), Math.sin(eye.turn), Math.cos(eye.tilt), Math.sin(eye.tilt)];
    return (x, y, z) => {
      const [a, b] = [x * ct - y * st, x * st + y * ct];
      return [width / 2 + size * a, height * 0.5 - size * (0.8 * z * ce + b * se), -b * ce + 0.8 * z * se];
    };
  }

  function drawSurface() {
    surfaces[1].hidden = !beside();
    find(".explorer-surface").hidden = !run().views[chosen.seed];
    if (!run().views[chosen.seed]) return;
    drawOn(surfaces[0], chosen);
    if (beside()) drawOn(surfaces[1], beside());
  }

  function drawOn(canvas, state) {
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width) return;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const view = run(state).views[state.seed];
    const small = Math.max(11, Math.min(13, width / 48));
    pen.font = `${small}px ${getComputedStyle(root).fontFamily}`;
    const { x, y, z } = view[chosen.view];
    const side = Math.round(Math.sqrt(z.length));
    const at = projector(width, height);
    const unit = (i) => (2 * i) / (side - 1) - 1;
    const high3 = (value) => share(value) - 0.5;
    const grid = z.map((value, k) => at(0.8 * unit(k % side), 0.8 * unit(Math.floor(k / side)), high3(value)));

    box(pen, at, x, y, small, width);
    const faces = [];
    for (let j = 0; j + 1 < side; j++)
      for (let i = 0; i + 1 < side; i++) {
        const ring = [j * side + i, j * side + i + 1, (j + 1) * side + i + 1, (j + 1) * side + i];
        const mean = ring.reduce((sum, k) => sum + z[k], 0) / 4;
        const slope = (share(z[ring[1]]) + share(z[ring[2]]) - share(z[ring[0]]) - share(z[ring[3]])) * (side - 1) / 4;
        faces.push({ depth: ring.reduce((sum, k) => sum + grid[k][2], 0), ring, mean, shade: 1 - 0.28 * Math.tanh(Math.max(-0.4, slope)) });
      }
    faces.sort((a, b) => a.depth - b.depth);
    pen.lineWidth = 0.6;
    for (const { ring, mean, shade } of faces) {
      pen.beginPath();
      for (const k of ring) pen.lineTo(grid[k][0], grid[k][1]);
      pen.closePath();
      pen.fillStyle = pen.strokeStyle = tint(mean, Math.min(1, shade));
      pen.fill();
      pen.stroke();
    }
    overlay(pen, at, state, view, x, y, high3);
    if (!beside()) return;
    pen.textAlign = "left";
    pen.textBaseline = "top";
    pen.fillStyle = style("--ink");
    pen.fillText(name(state), 8, 8);
  }

  function box(pen, at, [x0, x1], [y0, y1], small, width) {
    const [nameX, nameY, unit] = NAMES[chosen.view];
    const floor = -0.52, corner = [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([a, b]) => [0.8 * a, 0.8 * b]);
    pen.strokeStyle = style("--line");
    pen.lineWidth = 1;
    pen.beginPath();
    for (const [a, b] of [...corner, corner[0]]) { const p = at(a, b, floor); pen.lineTo(p[0], p[1]); }
    pen.stroke();
    pen.fillStyle = style("--muted");
    pen.textBaseline = "middle";
    // labels on the two edges that are nearest to the reader
    const near = (a, b) => at(...a, floor)[2] + at(...b, floor)[2];
    const alongX = near(corner[0], corner[1]) > near(corner[3], corner[2]) ? [corner[0], corner[1]] : [corner[3], corner[2]];
    const alongY = near(corner[1], corner[2]) > near(corner[0], corner[3]) ? [corner[1], corner[2]] : [corner[0], corner[3]];
    const edges = [[alongX, nameX, x0, x1], [alongY, nameY, y0, y1]];
    for (const [[from, to], name, a, b] of edges) {
      const [p, q] = [at(...from, floor), at(...to, floor)];
      const middle = [(p[0] + q[0]) / 2, (p[1] + q[1]) / 2];
      const heart = at(0, 0, floor), away = [middle[0] - heart[0], middle[1] - heart[1]];
      const length = Math.hypot(...away) || 1, push = away.map((v) => (v / length) * small * 1.3);
      pen.textAlign = Math.abs(push[0]) < small * 0.35 ? "center" : push[0] > 0 ? "left" : "right";
      const text = width < 520 ? name.replace(/ component| eigenvector/, "") : `${name} (${unit})`;
      pen.fillText(text, middle[0] + push[0], middle[1] + push[1] * 1.7);
      pen.textAlign = "center";
      const tick = (v) => Number(v.toPrecision(3)).toString().replace("-", "−");
      for (const share of [0.05, 0.25, 0.75, 0.95]) { // two edges share a corner: keep their numbers apart; the name stands in the middle
        if (width < 520 && share > 0.1 && share < 0.9) continue;
        const edge = share < 0.1 ? 0 : share > 0.9 ? 1 : share, [u, v] = [0, 1].map((k) => p[k] + share * (q[k] - p[k]));
        pen.fillText(tick(a + edge * (b - a)), u + push[0] * 0.8, v + push[1]);
      }
    }
    // heights on the corner farthest to the left
    const [left] = corner.map(([a, b]) => [at(a, b, floor), at(a, b, -0.5), at(a, b, 0.5)]).sort((p, q) => p[0][0] - q[0][0]);
    pen.beginPath();
    for (const p of left) pen.lineTo(p[0], p[1]);
    pen.stroke();
    pen.textAlign = "right";
    for (const value of decades()) {
      const f = share(1000 * Math.log10(value)), [u, v] = [0, 1].map((k) => left[1][k] + f * (left[2][k] - left[1][k]));
      pen.beginPath();
      pen.moveTo(u, v);
      pen.lineTo(u - 4, v);
      pen.stroke();
      pen.fillText(plots.tick(value), u - 7, v);
    }
  }

  // powers of ten between the least and the largest loss of all surfaces
  const decades = () => Array.from({ length: Math.floor(high / 1000) - Math.ceil(low / 1000) + 1 }, (_, k) => Number(`1e${Math.ceil(low / 1000) + k}`));

  function overlay(pen, at, state, view, [x0, x1], [y0, y1], high3) {
    const ink = style("--ink"), ground = style("--ground");
    const place = (a, b, loss) => at(0.8 * ((2 * (a - x0)) / (x1 - x0) - 1), 0.8 * ((2 * (b - y0)) / (y1 - y0) - 1), high3(1000 * Math.log10(loss)));
    const inside = ([a, b]) => a >= x0 && a <= x1 && b >= y0 && b <= y1;
    if (chosen.view.startsWith("pca")) {
      const points = view.path.map((p, i) => [p, i]).filter(([p, i]) => inside(p) && i <= epoch());
      const onPlane = points.map(([p, i]) => place(...p, view.shadow[i]));
      pen.strokeStyle = pen.fillStyle = "#fff";
      pen.lineWidth = 3.5;
      line(pen, onPlane);
      pen.strokeStyle = "#111";
      pen.lineWidth = 1.6;
      line(pen, onPlane);
      for (const [p, i] of points) {
        const [a, b] = [place(...p, view.shadow[i]), place(...p, view.loss[i])];
        pen.strokeStyle = ink;
        pen.lineWidth = 1;
        line(pen, [a, b]);
        dot(pen, b, i === epoch() ? 6 : 3.4, run(state).colour, ground);
      }
      if (points.length && points[0][1] === 0) mark(pen, onPlane[0], "start", ink, ground);
    }
    mark(pen, place(0, 0, view.loss[run(state).epoch[number(state)] + 1]), "minimum", ink, ground);
  }

  function line(pen, points) {
    pen.beginPath();
    for (const p of points) pen.lineTo(p[0], p[1]);
    pen.stroke();
  }

  function dot(pen, [x, y], radius, fill, edge) {
    pen.beginPath();
    pen.arc(x, y, radius, 0, 7);
    pen.fillStyle = fill;
    pen.fill();
    pen.strokeStyle = edge;
    pen.lineWidth = 1;
    pen.stroke();
  }

  function mark(pen, point, text, ink, ground) {
    dot(pen, point, 5.5, ground, ink);
    pen.textAlign = "center";
    pen.lineWidth = 4;
    pen.strokeStyle = ground;
    pen.strokeText(text, point[0], point[1] - 15);
    pen.fillStyle = ink;
    pen.fillText(text, point[0], point[1] - 15);
  }

  // --- small plots ------------------------------------------------------------------------------------------------

  function drawTraining() {
    const r = run(), i = number(), epochs = r.train_loss[i].map((_, e) => e + 1);
    const x = scale([1, epochs.length], LEFT, W - RIGHT, false);
    const y = scale(runs.flatMap((o) => [...o.train_loss.flat(), ...o.test_loss.flat()]), H - BOTTOM, TOP, true);
    const body = r.seeds.map((_, s) => polyline(epochs, r.train_loss[s], x, y, { stroke: "var(--muted)", "stroke-width": 0.7, opacity: 0.5 }));
    body.push(polyline(epochs, r.test_loss[i], x, y, { stroke: r.colour, "stroke-width": 1.6, "stroke-dasharray": "5 3" }));
    body.push(polyline(epochs, r.train_loss[i], x, y, { stroke: r.colour, "stroke-width": 2.2 }));
    const e = r.epoch[i];
    if (e >= 0) body.push(xml("circle", { cx: x(e + 1), cy: y(r.train_loss[i][e]), r: 5, fill: "none", stroke: "var(--ink)", "stroke-width": 1.6 }));
    if (epoch() > 0) body.push(xml("circle", { cx: x(epoch()), cy: y(r.train_loss[i][epoch() - 1]), r: 3.4, fill: r.colour, stroke: "var(--ground)" }));
    const ticks = [1, 10, 20, 30].filter((v) => v <= epochs.length);
    plots.frame(find('[data-plot="training"]'), x, y, ticks, "epochs trained", "loss (nats)", body, `Loss after every epoch; the least training loss is ${digits(r.train_loss[i][e])} nats after ${e + 1} epochs.`);
  }

  function drawHidden() {
    const r = run(), view = r.views[chosen.seed], svg = find('[data-plot="hidden"]');
    svg.parentElement.hidden = !view;
    if (!view) return;
    const epochs = view.loss.map((_, e) => e), x = scale([0, epochs.length - 1], LEFT, W - RIGHT, false);
    const every = runs.flatMap((o) => Object.values(o.views)).flatMap((v) => [...v.loss, ...v.shadow]);
    const y = scale(every, H - BOTTOM, TOP, true);
    const body = [polyline(epochs, view.loss, x, y, { stroke: r.colour, "stroke-width": 2.2 })];
    body.push(polyline(epochs, view.shadow, x, y, { stroke: "var(--ink)", "stroke-width": 1.3, "stroke-dasharray": "5 3" }));
    body.push(xml("circle", { cx: x(epoch()), cy: y(view.loss[epoch()]), r: 3.4, fill: r.colour, stroke: "var(--ground)" }));
    const worst = Math.max(...view.loss.map((v, e) => Math.exp(Math.abs(Math.log(v / view.shadow[e])))));
    const ticks = [0, 10, 20, 30].filter((v) => v < epochs.length);
    plots.frame(find('[data-plot="hidden"]'), x, y, ticks, "epochs trained", "loss (nats)", body, `Loss along the path and at its shadow on the plane; they differ by a factor of ${digits(worst)} at most.`);
  }

  function drawSpectrum() {
    const r = run(), i = number();
    const all = r.all_eigenvalues && r.all_eigenvalues[i], top = all || (r.eigenvalues && r.eigenvalues[i]);
    const text = find('[data-text="spectrum"]');
    if (!top) {
      find('[data-plot="spectrum"]').innerHTML = "";
      text.textContent = "The spectrum of this run is not stored.";
      return;
    }
    const every = runs.flatMap((o) => (o.eigenvalues || []).flat()).filter((v) => v > 0);
    const y = scale([...every, ...(all ? [Math.max(...every) * 1e-6] : [])], H - BOTTOM, TOP, true);
    const ranks = top.map((_, k) => k + 1), x = scale([1, top.length], LEFT, W - RIGHT, !!all);
    const shown = top.map((v) => (v > 0 && y(v) <= H - BOTTOM ? v : null));
    const body = all ? [] : r.eigenvalues.map((values) => polyline(ranks, values.map((v) => (v > 0 ? v : null)), x, y, { stroke: "var(--muted)", "stroke-width": 0.7, opacity: 0.5 }));
    shown.forEach((v, k) => v !== null && body.push(xml("circle", { cx: x(k + 1).toFixed(1), cy: y(v).toFixed(1), r: all ? 1.8 : 3, fill: r.colour })));
    const estimate = r.expected && r.expected[i];
    if (estimate && !all) body.push(polyline(ranks.slice(0, estimate.length), estimate.map((v) => (v > 0 && y(v) <= H - BOTTOM ? v : null)), x, y, { stroke: "var(--ink)", "stroke-width": 1.6, "stroke-dasharray": "5 3", "data-line": "expected" }));
    const nine = x(9.5).toFixed(1);
    body.push(xml("line", { x1: nine, x2: nine, y1: TOP, y2: H - BOTTOM, stroke: "var(--ink)", "stroke-dasharray": "3 3", "stroke-width": 0.8 }));
    body.push(xml("text", { x: x(9.5) + 4, y: TOP + 9 }, "C − 1 = 9"));
    const ticks = all ? [1, 10, 100, 1000].filter((v) => v <= top.length) : [1, 5, 10, 15, 20];
    plots.frame(find('[data-plot="spectrum"]'), x, y, ticks, "rank", "eigenvalue (nats/rad²)", body, `Hessian eigenvalues in decreasing order, from ${digits(top[0])} nats per rad squared.`);
    const below = top.filter((v) => v !== null && v <= 0).length;
    text.textContent = all
      ? `All ${top.length} Hessian eigenvalues at the minimum, by rank; ${below} negative ones are not drawn on this scale.`
      : `The ${top.length} largest of ${r.params} Hessian eigenvalues at the minimum, by rank. Thin lines: the other seeds.${estimate ? " Dashed: what the estimate E2 of chapter 3 expects with random blocks in the place of the trained ones." : ""} C = 10 classes.`;
  }

  // m (1 - exp(-L)) / n of a run, the abscissa of the law
  const lawful = (r, s) => (r.angles * -Math.expm1(-r.train_loss[s][r.epoch[s]])) / r.n;

  function drawLaw() {
    const points = runs.flatMap((r) => r.seeds.map((seed, s) => ({ r, seed, u: r.epoch[s] < 0 ? null : lawful(r, s), v: r.lambda_max && r.lambda_max[s] }))).filter((p) => p.u > 0 && p.v > 0);
    if (!points.length) return;
    const x = scale(points.map((p) => p.u), LEFT, W - RIGHT, true), y = scale(points.map((p) => p.v), H - BOTTOM, TOP, true);
    const claimed = points.filter((p) => p.r.n >= 4), us = claimed.map((p) => p.u);
    const slope = Math.exp(claimed.reduce((sum, p) => sum + Math.log(p.v / p.u), 0) / claimed.length);
    const ends = claimed.length ? [Math.min(...us), Math.max(...us)] : [];
    const body = [polyline(ends, ends.map((u) => slope * u), x, y, { stroke: "var(--muted)", "stroke-dasharray": "4 3" })];
    const mine = (p) => p.r === run() && p.seed === chosen.seed;
    for (const p of points) body.push(xml("circle", { cx: x(p.u).toFixed(1), cy: y(p.v).toFixed(1), r: 3.2, fill: p.r.colour, opacity: mine(p) ? 1 : 0.6, "data-run": `${p.r.n},${p.r.d},${p.seed}` }));
    const here = points.find(mine);
    if (here) body.push(xml("circle", { cx: x(here.u).toFixed(1), cy: y(here.v).toFixed(1), r: 6.5, fill: "none", stroke: "var(--ink)", "stroke-width": 1.8, "pointer-events": "none" }));
    plots.frame(find('[data-plot="law"]'), x, y, x.ticks, "m (1 − exp(−L)) / n", "λmax (nats/rad²)", body, `Largest eigenvalue of every run against m (1 − exp(−L)) / n; this one: ${here ? `${digits(here.v)} against ${digits(here.u)}` : "not measured"}.`);
  }

  function drawSharpness() {
    const known = runs.filter((r) => r.lambda_max), ns = unique(known.map((r) => r.n));
    if (!known.length) return;
    const x = scale([ns[0] / 1.3, ns[ns.length - 1] * 1.3], LEFT, W - RIGHT, true);
    const y = scale(known.flatMap((r) => r.lambda_max), H - BOTTOM, TOP, true);
    const depths = unique(known.map((r) => r.d)), body = [];
    const mine = run(), i = number();
    const mean = (r) => r.lambda_max.reduce((sum, v) => sum + (v || 0), 0) / r.lambda_max.filter((v) => v).length;
    const first = known.filter((r) => r.d === chosen.d && r.n >= 4).sort((a, b) => a.n - b.n)[0];
    if (first && ns.length > 1) {
      const claimed = ns.filter((n) => n >= first.n), ends = claimed.map((n) => (mean(first) * first.n) / n);
      body.push(polyline(claimed, ends.map((v) => (y(v) <= H - BOTTOM ? v : null)), x, y, { stroke: "var(--muted)", "stroke-dasharray": "4 3" }));
    }
    for (const r of known)
      r.lambda_max.forEach((v, s) => {
        if (!(v > 0)) return;
        const aside = (depths.indexOf(r.d) - (depths.length - 1) / 2) * 9 + (s / r.seeds.length - 0.5) * 5;
        const look = r.d === chosen.d ? { fill: r.colour, opacity: 0.85 } : { fill: "none", stroke: r.colour, opacity: 0.5 };
        body.push(xml("circle", { cx: (x(r.n) + aside).toFixed(1), cy: y(v).toFixed(1), r: 2.6, ...look }));
        if (r === mine && s === i) body.push(xml("circle", { cx: (x(r.n) + aside).toFixed(1), cy: y(v).toFixed(1), r: 6.5, fill: "none", stroke: "var(--ink)", "stroke-width": 1.8 }));
      });
    plots.frame(find('[data-plot="sharpness"]'), x, y, ns, "number of patches n", "λmax (nats/rad²)", body, `Largest eigenvalue of every run; this one ${mine.lambda_max ? digits(mine.lambda_max[i]) : "is not measured"}.`);
  }

  // --- text and choices -------------------------------------------------------------------------------------------

  function describe() {
    const r = run(), i = number(), e = r.epoch[i], view = r.views[chosen.seed];
    const at = (name) => digits(e < 0 ? null : r[name][i][e]);
    find(".explorer-summary").innerHTML =
      `<i>n</i> = ${r.n}, <i>d</i> = ${r.d}, seed ${chosen.seed}, ${r.params} parameters: λ<sub>max</sub> = <b>${digits(r.lambda_max && r.lambda_max[i])}</b> nats/rad², ` +
      `training loss <b>${at("train_loss")}</b> nats, test loss <b>${at("test_loss")}</b> nats, test accuracy <b>${at("test_accuracy")}</b>.`;
    if (!view) find(".explorer-summary").append(` No surface is stored for this run${Object.keys(r.views).length ? `, but for seed ${Object.keys(r.views).join(", ")} of the same size` : ""}.`);
    const other = beside() && run(beside());
    if (other) find(".explorer-summary").append(` Beside it: n = ${other.n}, d = ${other.d}, seed ${beside().seed}, λmax = ${digits(other.lambda_max && other.lambda_max[other.seeds.indexOf(beside().seed)])} nats/rad².`);
    const share = view ? Math.round(100 * (view.explained[0] + view.explained[1])) : null;
    const kind = chosen.view.startsWith("pca")
      ? `The plane holds ${share} % of the variance of the path; black line: the path's shadow on the surface; dots: its true loss, off the plane.`
      : chosen.view === "eigen"
        ? "Directions of the largest and second largest curvature."
        : "Two random directions, each circuit's part as long as that circuit's angles.";
    find(".explorer-caption").textContent = `Loss over all ${images} training images (MNIST, 8 qubits), bias ${chosen.view.startsWith("pca") ? "frozen at the minimum" : "moving too"}; height and colour are logarithmic, so that a low minimum looks like a funnel however flat it is. ${view ? kind : ""}`;
    [chosen, beside()].forEach((at, k) => {
      const shown = at && run(at).views[at.seed], heights = shown && shown[chosen.view].z;
      if (shown) surfaces[k].setAttribute("aria-label", `Loss surface for ${name(at)}: ${find(`[value="${chosen.view}"]`).textContent}. From ${digits(10 ** (Math.min(...heights) / 1000))} to ${digits(10 ** (Math.max(...heights) / 1000))} nats.`);
    });
  }

  function radios(name, values) {
    const box = find(`fieldset[data-choice="${name}"]`);
    for (const value of values) {
      const label = document.createElement("label"), input = document.createElement("input");
      Object.assign(input, { type: "radio", name: `explorer-${name}`, value, checked: value === chosen[name] });
      input.addEventListener("change", () => choose({ [name]: value }));
      label.append(input, String(value));
      box.append(label);
    }
  }

  function choose(change) {
    Object.assign(chosen, change);
    if (!run()) chosen.d = runs.find((r) => r.n === chosen.n).d;
    for (const input of root.querySelectorAll('fieldset[data-choice="n"] input')) input.checked = Number(input.value) === chosen.n;
    const r = run(), seeds = find('select[data-choice="seed"]');
    if (!r.seeds.includes(chosen.seed)) chosen.seed = r.seeds[0];
    seeds.innerHTML = r.seeds.map((s) => `<option value="${s}">${s}${r.views[s] ? "" : " (no surface)"}</option>`).join("");
    seeds.value = chosen.seed;
    for (const input of root.querySelectorAll('fieldset[data-choice="d"] input')) {
      input.parentElement.hidden = !runs.some((o) => o.n === chosen.n && o.d === Number(input.value));
      input.checked = Number(input.value) === chosen.d;
    }
    for (const part of ["view", "other"]) find(`select[data-choice="${part}"]`).value = chosen[part];
    for (const part of ["view", "other"]) find(`select[data-choice="${part}"]`).disabled = !r.views[chosen.seed];
    if (!r.views[chosen.seed]) chosen.other = "";
    Object.assign(find('[data-choice="epoch"]'), { max: last(), value: epoch() });
    find('[data-text="epoch"]').textContent = epoch();
    draw();
    if (Object.keys(change).length) history.replaceState(null, "", `#${address()}`);
  }

  // The state in the address, so that a link leads to it: n=4&d=6&seed=0&view=eigen&beside=9-6-0&epoch=3.
  function address() {
    const { n, d, seed, view } = chosen, parts = { n, d, seed, view }, other = beside();
    if (other) parts.beside = `${other.n}-${other.d}-${other.seed}`;
    if (epoch() < last()) parts.epoch = epoch();
    return new URLSearchParams(parts).toString();
  }

  // Reads such an address; what does not exist is left as it is.
  function fromAddress() {
    const given = new URLSearchParams(location.hash.slice(1)), number = (key) => (given.has(key) ? Number(given.get(key)) : undefined);
    const r = runs.find((o) => o.n === number("n") && o.d === number("d"));
    if (!r) return {};
    const other = stored.find((at) => `${at.n}-${at.d}-${at.seed}` === given.get("beside"));
    return {
      n: r.n, d: r.d,
      seed: r.seeds.includes(number("seed")) ? number("seed") : r.seeds[0],
      view: given.get("view") in NAMES ? given.get("view") : chosen.view,
      other: other ? name(other) : "",
      epoch: number("epoch") >= 0 ? Math.floor(number("epoch")) : Infinity,
    };
  }

  // Choices worth a look, found in the data.
  function presets() {
    const at = ({ n, d, seed }) => ({ n, d, seed, other: "", epoch: Infinity });
    const measured = stored.filter((s) => run(s).lambda_max).sort((a, b) => run(a).lambda_max[number(a)] - run(b).lambda_max[number(b)]);
    const found = {};
    if (measured.length > 1) {
      const [flat, sharp] = [measured[0], measured[measured.length - 1]];
      found["flattest beside sharpest"] = { ...at(flat), view: "eigen", other: name(sharp) };
    }
    const few = stored.find((s) => s.n === 4), more = few && stored.find((s) => s.n === 9 && s.d === few.d && s.seed === few.seed);
    if (more) found["four patches beside nine"] = { ...at(few), view: "pca_wide", other: name(more) };
    const shallow = few && stored.filter((s) => s.n === few.n && s.seed === few.seed);
    if (shallow?.length > 1) found["shallow beside deep"] = { ...at(shallow[0]), view: "pca_wide", other: name(shallow[shallow.length - 1]) };
    for (const [words, state] of Object.entries(found)) {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: words });
      button.addEventListener("click", () => choose(state));
      find(".explorer-presets").append(button);
    }
  }

  function draw() {
    describe();
    drawSurface();
    drawTraining();
    drawHidden();
    drawSpectrum();
    drawLaw();
    drawSharpness();
  }

  const TURNS = {
    left: () => (eye.turn -= 0.15), right: () => (eye.turn += 0.15),
    up: () => (eye.tilt = Math.min(1.5, eye.tilt + 0.1)), down: () => (eye.tilt = Math.max(0.05, eye.tilt - 0.1)),
    in: () => (eye.zoom = Math.min(3, eye.zoom * 1.15)), out: () => (eye.zoom = Math.max(0.5, eye.zoom / 1.15)),
    home: () => Object.assign(eye, HOME),
  };
  const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down", "+": "in", "=": "in", "-": "out", Home: "home" };
  function turn(name) {
    TURNS[name]();
    drawSurface();
  }

  for (const canvas of surfaces) canvas.addEventListener("keydown", (event) => {
    if (!KEYS[event.key] || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    turn(KEYS[event.key]);
  });
  for (const button of root.querySelectorAll("[data-turn]")) button.addEventListener("click", () => turn(button.dataset.turn));
  let held = null;
  for (const canvas of surfaces) {
    canvas.addEventListener("pointerdown", (event) => { held = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", (event) => {
      if (!held) return;
      eye.turn += (event.clientX - held[0]) * 0.008;
      // a finger that moves upwards scrolls the page
      if (event.pointerType !== "touch") eye.tilt = Math.min(1.5, Math.max(0.05, eye.tilt + (event.clientY - held[1]) * 0.006));
      held = [event.clientX, event.clientY];
      drawSurface();
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (held = null));
  }

  live.hidden = false;
  radios("n", unique(runs.map((r) => r.n)));
  radios("d", unique(runs.map((r) => r.d)));
  find('select[data-choice="seed"]').addEventListener("change", (event) => choose({ seed: Number(event.target.value) }));
  find('select[data-choice="view"]').addEventListener("change", (event) => choose({ view: event.target.value }));
  const other = find('select[data-choice="other"]');
  for (const at of stored) other.append(new Option(name(at), name(at)));
  other.addEventListener("change", () => choose({ other: other.value }));
  const slider = find('[data-choice="epoch"]');
  slider.addEventListener("input", () => choose({ epoch: Number(slider.value) }));
  find('[data-plot="law"]').addEventListener("click", (event) => {
    if (!event.target.dataset.run) return;
    const [n, d, seed] = event.target.dataset.run.split(",").map(Number);
    choose({ n, d, seed });
  });
  const bar = find(".explorer-bar canvas"), ink = bar.getContext("2d");
  for (let i = 0; i < 256; i++) { ink.fillStyle = tint(low + ((high - low) * i) / 255); ink.fillRect(i, 0, 1, 1); }
  for (const value of low < high ? decades() : []) {
    const mark = document.createElement("span");
    mark.textContent = plots.tick(value);
    mark.style.left = `${100 * share(1000 * Math.log10(value))}%`;
    find('[data-bar="ticks"]').append(mark);
  }
  presets();
  Object.assign(chosen, fromAddress());
  choose({});
  window.addEventListener("hashchange", () => { Object.assign(chosen, fromAddress()); choose({}); });
  new MutationObserver(drawSurface).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawSurface);
  for (const canvas of surfaces) new ResizeObserver(drawSurface).observe(canvas);
})();
