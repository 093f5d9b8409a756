(() => {
  "use strict";
  const { W, H, LEFT, BOTTOM, TOP, RIGHT, xml, scale, polyline, digits } = plots;
  const root = document.querySelector(".experiment");
  const text = document.getElementById("experiment-data").textContent, data = JSON.parse(text);
  const find = (selector) => root.querySelector(selector);
  const form = find("form"), go = find(".experiment-go"), stop = find('[data-do="stop"]'), status = find('[role="status"]');
  const NS = Object.keys(data.colours).map(Number), DEPTHS = Object.keys(data.circuits).map(Number);
  const KINDS = { lambda: "λmax", scaled: "λmax / (1 − exp(−loss))" };
  const curves = [], results = [];
  let kind = "lambda", running = null;

  // --- choices ----------------------------------------------------------------------------------------------------

  function options(name, type, values, chosen, words = (v) => v) {
    const box = find(`fieldset[data-choice="${name}"]`);
    for (const value of values) {
      const label = document.createElement("label"), input = document.createElement("input");
      Object.assign(input, { type, name: `experiment-${name}`, value, checked: chosen.includes(value) });
      label.append(input, ` ${words(value)}`);
      box.append(label);
    }
  }
  const ticked = (name) => [...root.querySelectorAll(`[name="experiment-${name}"]:checked`)].map((input) => input.value);
  const field = (name) => Number(find(`label [data-choice="${name}"]`).value);

  function choices() {
    const [depth] = ticked("depth"), [aggregation] = ticked("aggregation");
    const seeds = Array.from({ length: field("repeat") }, (_, i) => (field("seed") + i) % 2 ** 32);
    return seeds.flatMap((seed) => ticked("n").map((n) => ({ n: Number(n), depth: Number(depth), aggregation, scale: field("scale"), seed })));
  }

  function set({ scale, ...named }) {
    for (const input of root.querySelectorAll('[name="experiment-n"]')) input.checked = true;
    for (const [name, value] of Object.entries(named)) find(`[name="experiment-${name}"][value="${value}"]`).checked = true;
    find('[data-choice="scale"]').value = scale;
  }

  // --- running ----------------------------------------------------------------------------------------------------

  // Runs a choice in a worker, or in slices between which the page stays usable; calls `tell` with everything told.
  function engine() {
    try {
      const source = `const core = (${experimentCore})(${text}); onmessage = ({ data }) => { for (const told of core.run(data)) postMessage(told); };`;
      const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" })), worker = new Worker(address);
      return {
        run: (choice, tell) => new Promise((done, failed) => {
          worker.onmessage = ({ data: told }) => { tell(told); if (told.kind === "result") done(); };
          worker.onerror = (event) => failed(new Error(event.message));
          worker.postMessage(choice);
        }),
        end: () => { worker.terminate(); URL.revokeObjectURL(address); },
      };
    } catch {
      let ended = false;
      return {
        run: async (choice, tell) => {
          for (const told of experimentCore(data).run(choice)) {
            if (ended) return;
            tell(told);
            await new Promise((next) => setTimeout(next));
          }
        },
        end: () => (ended = true),
      };
    }
  }

  async function start() {
    const list = choices();
    if (running) return;
    if (!list.length) return (status.textContent = "Choose at least one number of patches.");
    const mine = (running = engine());
    go.disabled = true;
    stop.disabled = false;
    const made = [];
    try {
      for (const [number, choice] of list.entries()) {
        status.textContent = `Training n = ${choice.n}, d = ${choice.depth}, ${choice.aggregation}, c = ${choice.scale}, seed ${choice.seed} …`;
        const curve = { choice, losses: [] }, begun = performance.now();
        curves.push(curve);
        await mine.run(choice, (told) => {
          if (running !== mine) return;
          if (told.kind === "epoch") {
            curve.losses.push(told.loss);
            progress((number + (0.8 * (told.epoch + 1)) / told.epochs) / list.length, `n = ${choice.n}: epoch ${told.epoch + 1} of ${told.epochs}, loss ${digits(told.loss)}`);
            drawLoss();
          } else if (told.kind === "product") {
            progress((number + 0.8 + 0.2 * (1 - 1 / told.products)) / list.length, `n = ${choice.n}: λmax ${digits(told.lambda)} ± ${told.residual.toExponential(0)}`);
          } else {
            made.push({ ...told, seconds: (performance.now() - begun) / 1000 });
            results.push(made[number]);
            drawLambda();
            drawTable();
          }
        });
        if (running !== mine) return;
      }
      summarise(made);
      progress(1, "");
    } catch (error) {
      status.textContent = `The experiment stopped: ${error.message}.`;
    } finally {
      if (running === mine) end();
    }
  }

  function end() {
    running?.end();
    running = null;
    go.disabled = false;
    stop.disabled = true;
  }

  function progress(share, words) {
    find("progress").value = share;
    find('[data-text="progress"]').textContent = words;
  }

  function summarise(made) {
    if (made.length > NS.length) return (status.textContent = `${made.length} runs are done: see the plots and the table.`);
    status.innerHTML = made
      .map((r) => `<i>n</i> = ${r.choice.n}: loss ${digits(r.loss)} nats, λ<sub>max</sub> = <b>${digits(r.lambda)}</b> nats/rad²`).join("; ") + ".";
  }

  // --- drawing ----------------------------------------------------------------------------------------------------

  function drawLoss() {
    const epochs = Array.from({ length: data.protocol.epochs }, (_, e) => e + 1);
    const shown = curves.filter((c) => c.losses.length), all = shown.flatMap((c) => c.losses);
    const x = scale([1, epochs.length], LEFT, W - RIGHT, false), y = scale(all.length ? all : [0.01, 10], H - BOTTOM, TOP, true);
    const newest = new Map(shown.map((c) => [c.choice.n, c]));
    const body = shown.map((c) => {
      const look = { stroke: data.colours[c.choice.n], "stroke-width": 0.9, opacity: 0.45 };
      return polyline(epochs, c.losses, x, y, newest.get(c.choice.n) === c ? { ...look, "stroke-width": 2.2, opacity: 1 } : look);
    });
    for (const [n, c] of newest) {
      const last = c.losses.length - 1;
      if (c.losses.length === epochs.length) body.push(xml("text", { x: x(last + 1), y: y(c.losses[last]) - 5, "text-anchor": "end" }, `n = ${n}`));
    }
    const words = [...newest].map(([n, c]) => `n = ${n}: ${digits(c.losses[c.losses.length - 1])} nats after ${c.losses.length} epochs`);
    plots.frame(find('[data-plot="loss"]'), x, y, [1, 10, 20, 30].filter((e) => e <= epochs.length), "epochs trained", "loss (nats)", body, `Training loss; ${words.join("; ") || "nothing yet"}.`);
  }

  const SHAPES = [
    (x, y, look) => xml("circle", { cx: x, cy: y, r: 4, ...look }),
    (x, y, look) => xml("rect", { x: x - 3.6, y: y - 3.6, width: 7.2, height: 7.2, ...look }),
    (x, y, look) => xml("path", { d: `M${x} ${y - 5}l5 8.6h-10z`, ...look }),
    (x, y, look) => xml("path", { d: `M${x} ${y - 5}l5 5l-5 5l-5-5z`, ...look }),
  ];
  const ANCHOR = 4; // where the line 1/n goes through: a single patch sees a quarter of the image and is trained badly
  const NAMES = ["circles", "squares", "triangles", "diamonds"];
  const height = (r) => (kind === "lambda" ? r.lambda : r.lambda / -Math.expm1(-r.loss));
  const setting = ({ choice: c }) => `${c.aggregation}, c = ${c.scale}, d = ${c.depth}`;

  function drawLambda() {
    const seen = results.filter((r) => height(r) > 0), settings = [...new Set(seen.map(setting))];
    const x = scale([NS[0] / 1.4, NS[NS.length - 1] * 1.4], LEFT, W - RIGHT, true);
    const y = scale(seen.length ? seen.map(height) : [0.1, 1000], H - BOTTOM, TOP, true), body = [];
    settings.forEach((name, number) => {
      const own = seen.filter((r) => setting(r) === name), seenNs = own.map((r) => r.choice.n);
      const first = seenNs.includes(ANCHOR) ? ANCHOR : Math.min(...seenNs);
      const there = own.filter((r) => r.choice.n === first).map(height), mean = there.reduce((a, b) => a + b) / there.length;
      const ends = NS.filter((n) => n >= first);
      const line = ends.map((n) => (mean * first) / n).map((v) => (y(v) <= H - BOTTOM + 1 ? v : null));
      body.push(polyline(ends, line, x, y, { stroke: "var(--muted)", "stroke-dasharray": "4 3" }));
      for (const r of own)
        body.push(SHAPES[number % SHAPES.length](Number((x(r.choice.n) + 6 * (number - (settings.length - 1) / 2)).toFixed(1)), Number(y(height(r)).toFixed(1)), { fill: data.colours[r.choice.n], stroke: "var(--ground)" }));
    });
    const words = seen.map((r) => `n = ${r.choice.n} (${setting(r)}): ${digits(height(r))}`);
    plots.frame(find('[data-plot="lambda"]'), x, y, NS, "number of patches n", kind === "lambda" ? "λmax (nats/rad²)" : KINDS[kind], body, `Largest eigenvalue against the number of patches; ${words.join("; ") || "nothing yet"}.`);
    find('[data-text="marks"]').textContent = settings.length > 1 ? `${settings.map((name, i) => `${NAMES[i % NAMES.length]}: ${name}`).join("; ")}.` : "";
  }

  function drawTable() {
    find(".experiment-table").hidden = !results.length;
    find("tbody").innerHTML = results
      .map(({ choice: c, ...r }) => [c.n, c.depth, c.aggregation, c.scale, c.seed, digits(r.loss), r.testAccuracy.toFixed(2), digits(r.lambda), r.residual.toExponential(0), r.products, r.seconds.toFixed(1)])
      .map((row) => `<tr>${row.map((cell) => `<td>${cell}</td>`).join("")}</tr>`).join("");
  }

  options("n", "checkbox", NS, NS);
  options("depth", "radio", DEPTHS, [DEPTHS[0]]);
  options("aggregation", "radio", ["mean", "sum"], ["mean"]);
  options("kind", "radio", Object.keys(KINDS), [kind], (name) => KINDS[name]);
  form.addEventListener("submit", (event) => { event.preventDefault(); start(); });
  for (const button of root.querySelectorAll("[data-try]"))
    button.addEventListener("click", () => {
      set({ ...data.tries[button.dataset.try], kind: "scaled" });
      show();
      if (form.reportValidity()) start();
    });
  stop.addEventListener("click", () => {
    if (!running) return;
    end();
    curves.pop();
    drawLoss();
    progress(0, "");
    status.textContent = "Stopped.";
    go.focus();
  });
  find('[data-do="clear"]').addEventListener("click", () => {
    curves.splice(0, running ? curves.length - 1 : curves.length);
    results.length = 0;
    draw();
    if (!running) { progress(0, ""); status.textContent = "Cleared."; }
  });
  function show() { [kind] = ticked("kind"); drawLambda(); }
  find('[data-choice="kind"]').addEventListener("change", show);
  function draw() { drawLoss(); drawLambda(); drawTable(); }
  find(".explorer-live").hidden = false;
  draw();
})();
