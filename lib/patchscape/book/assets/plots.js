// Small plots in SVG, shared by the explorer and the experiment (var: in print both stand on one page).
var plots = (() => {
  "use strict";
  const W = 320, H = 210, LEFT = 46, BOTTOM = 36, TOP = 12, RIGHT = 8;
  const xml = (tag, attributes, text = "") =>
    `<${tag} ${Object.entries(attributes).map(([k, v]) => `${k}="${v}"`).join(" ")}>${text}</${tag}>`;

  function scale(values, from, to, log) {
    const f = log ? Math.log10 : (v) => v;
    const known = values.filter((v) => v !== null && (!log || v > 0)).map(f);
    let [a, b] = [Math.min(...known), Math.max(...known)];
    const margin = 0.04 * (b - a || 1);
    [a, b] = [a - margin, b + margin];
    const map = (v) => from + ((f(v) - a) / (b - a)) * (to - from);
    map.ticks = [];
    const every = Math.ceil((b - a) / 7); // decades from tick to tick: seven fit
    if (log) for (let k = Math.ceil(a / every) * every; k <= b; k += every) map.ticks.push(Number(`1e${k}`));
    if (log && map.ticks.length < 2) // a short axis: 1, 2 and 5 of a decade
      map.ticks = [-1, 0, 1].flatMap((k) => [1, 2, 5].map((v) => v * 10 ** (Math.floor(a) + 1 + k))).filter((v) => f(v) >= a && f(v) <= b);
    if (log && map.ticks.length < 2) map.ticks = [10 ** a * 1.02, 10 ** b / 1.02].map((v) => Number(v.toPrecision(2)));
    return map;
  }

  const tick = (v) => (v && v < 1e-3 || v >= 1e5 ? v.toExponential() : v).toString().replace("e+", "e").replace("-", "−");

  function frame(svg, x, y, xTicks, labelX, labelY, body, description) {
    const parts = [];
    for (const v of xTicks) parts.push(xml("text", { x: x(v), y: H - BOTTOM + 15, "text-anchor": "middle" }, tick(v)));
    for (const v of y.ticks) {
      parts.push(xml("line", { x1: LEFT, x2: W - RIGHT, y1: y(v), y2: y(v), stroke: "var(--line)", "stroke-width": 0.6 }));
      parts.push(xml("text", { x: LEFT - 5, y: y(v) + 4, "text-anchor": "end" }, tick(Number(v.toPrecision(2)))));
    }
    parts.push(xml("path", { d: `M${LEFT} ${TOP}V${H - BOTTOM}H${W - RIGHT}`, fill: "none", stroke: "var(--muted)" }));
    parts.push(xml("text", { x: (LEFT + W - RIGHT) / 2, y: H - 4, "text-anchor": "middle" }, labelX));
    parts.push(xml("text", { x: 11, y: (H - BOTTOM + TOP) / 2, "text-anchor": "middle", transform: `rotate(-90 11 ${(H - BOTTOM + TOP) / 2})` }, labelY));
    svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
    svg.setAttribute("aria-label", description);
    svg.innerHTML = parts.join("") + body.join("");
  }

  const polyline = (xs, ys, x, y, look) =>
    xml("polyline", { fill: "none", points: ys.map((v, i) => (v === null ? "" : `${x(xs[i]).toFixed(1)},${y(v).toFixed(1)}`)).join(" "), ...look });

  const digits = (x) => (x === null || x === undefined ? "not measured" : Number(x.toPrecision(3)).toString());

  return { W, H, LEFT, BOTTOM, TOP, RIGHT, xml, scale, frame, tick, polyline, digits };
})();
