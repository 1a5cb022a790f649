/* SPDX-License-Identifier: Apache-2.0 */
"use strict";
// Crosshair with values, and zoom, over the stacked plots of each battery. Without a script the
// plots are complete; nothing is loaded.
for (const figure of document.querySelectorAll(".stack")) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const readout = figure.querySelector(".readout");
  const whole = data.boxes[0].minutes;
  let shown = whole, at = null, from = null;
  const views = [...figure.querySelectorAll("svg")].map((svg, index) => {
    const box = data.boxes[index];
    const [width, height] = box.size;
    for (const node of svg.querySelectorAll("[clip-path]")) {
      const clip = document.createElementNS(svg.namespaceURI, "g");
      clip.setAttribute("clip-path", node.getAttribute("clip-path"));
      node.removeAttribute("clip-path");
      node.replaceWith(clip);
      clip.append(node);
      node.classList.add("moves");
      for (const line of [node, ...node.querySelectorAll("path, use")])
        line.setAttribute("vector-effect", "non-scaling-stroke");
    }
    const line = document.createElementNS(svg.namespaceURI, "line");
    const band = document.createElementNS(svg.namespaceURI, "rect");
    line.setAttribute("class", "cross");
    band.setAttribute("class", "chosen");
    line.setAttribute("y1", box.y[0][0]);
    line.setAttribute("y2", box.y[box.y.length - 1][1]);
    band.setAttribute("y", box.y[0][0]);
    band.setAttribute("height", box.y[box.y.length - 1][1] - box.y[0][0]);
    svg.append(band, line);
    const ticks = [...svg.querySelectorAll(".tick")];
    return { svg, box, width, height, line, band, ticks, own: [] };
  });

  const place = (view, minutes) => {
    const [x0, x1] = view.box.x;
    return x0 + ((minutes - shown[0]) / (shown[1] - shown[0])) * (x1 - x0);
  };
  const minutesAt = (view, event) => {
    const frame = view.svg.getBoundingClientRect();
    const x = ((event.clientX - frame.left) / frame.width) * view.width;
    const share = (x - view.box.x[0]) / (view.box.x[1] - view.box.x[0]);
    return shown[0] + Math.min(Math.max(share, 0), 1) * (shown[1] - shown[0]);
  };
  const clock = (minutes) => {
    const seconds = Math.floor(minutes * 60 + 1e-6);
    return Math.floor(seconds / 60) + ":" + String(seconds % 60).padStart(2, "0");
  };
  const step = (span) => {
    const raw = span / 6, ten = 10 ** Math.floor(Math.log10(raw));
    return ten * [1, 2, 5, 10].find((n) => n * ten >= raw);
  };

  function show() {
    const every = step(shown[1] - shown[0]);
    for (const view of views) {
      const [x0, x1] = view.box.x;
      const scale = (whole[1] - whole[0]) / (shown[1] - shown[0]);
      const offset = x0 - scale * (x0 + ((shown[0] - whole[0]) / (whole[1] - whole[0])) * (x1 - x0));
      for (const node of view.svg.querySelectorAll(".moves"))
        node.setAttribute("transform", `matrix(${scale} 0 0 1 ${offset} 0)`);
      const zoomed = shown !== whole;
      for (const tick of view.ticks) tick.style.display = zoomed ? "none" : "";
      for (const text of view.own) text.remove();
      view.own = [];
      for (let t = Math.ceil(shown[0] / every) * every; zoomed && t <= shown[1]; t += every) {
        const text = document.createElementNS(view.svg.namespaceURI, "text");
        text.textContent = String(Number(t.toFixed(4)));
        text.setAttribute("x", place(view, t));
        text.setAttribute("y", view.box.y[view.box.y.length - 1][1] + 14);
        text.setAttribute("class", "label");
        view.svg.append(text);
        view.own.push(text);
      }
      const visible = at !== null && at >= shown[0] && at <= shown[1];
      view.line.style.display = visible ? "" : "none";
      if (visible) {
        view.line.setAttribute("x1", place(view, at));
        view.line.setAttribute("x2", place(view, at));
      }
      view.band.style.display = from === null ? "none" : "";
      if (from !== null) {
        const ends = [place(view, from), place(view, at)].sort((a, b) => a - b);
        view.band.setAttribute("x", ends[0]);
        view.band.setAttribute("width", ends[1] - ends[0]);
      }
    }
    if (at === null) return;
    let nearest = 0;
    for (let k = 0; k < data.minutes.length; k++)
      if (Math.abs(data.minutes[k] - at) < Math.abs(data.minutes[nearest] - at)) nearest = k;
    const near = (shown[1] - shown[0]) / 60;
    const parts = data.curves
      .filter((curve) => curve.v[nearest] !== null)
      .map((curve) => `${curve.label} ${curve.v[nearest]} ${curve.unit}`);
    parts.push(...data.marks.filter((m) => Math.abs(m[0] - at) < near).map((m) => m[1]));
    parts.push(...data.spans.filter((s) => s[1].some((e) => e[0] <= at && at <= e[1])).map((s) => s[0]));
    readout.replaceChildren();
    for (const text of [clock(at), ...new Set(parts)]) {
      const item = document.createElement("span");
      item.textContent = text;
      readout.append(item);
    }
  }
  function zoom(low, high) {
    const least = (whole[1] - whole[0]) / 200;
    if (high - low < least) [low, high] = [(low + high - least) / 2, (low + high + least) / 2];
    low = Math.max(low, whole[0]);
    high = Math.min(high, whole[1]);
    shown = high - low > 0.999 * (whole[1] - whole[0]) ? whole : [low, high];
    show();
  }
  function scaleBy(factor) {
    const middle = at === null ? (shown[0] + shown[1]) / 2 : at;
    zoom(middle - (middle - shown[0]) * factor, middle + (shown[1] - middle) * factor);
  }
  function move(share) {
    at = at === null ? shown[0] : at + share * (shown[1] - shown[0]);
    at = Math.min(Math.max(at, shown[0]), shown[1]);
    show();
  }
  const actions = {
    in: () => scaleBy(0.5), out: () => scaleBy(2), all: () => zoom(whole[0], whole[1]),
    "+": () => scaleBy(0.5), "-": () => scaleBy(2), "0": () => zoom(whole[0], whole[1]),
    ArrowLeft: () => move(-0.01), ArrowRight: () => move(0.01),
  };
  figure.querySelector(".tools").hidden = false;
  show();
  figure.addEventListener("click", (event) => actions[event.target.dataset.do]?.());
  figure.addEventListener("keydown", (event) => {
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  });
  for (const view of views) {
    view.svg.addEventListener("pointerdown", (event) => { from = at = minutesAt(view, event); show(); });
    view.svg.addEventListener("pointermove", (event) => { at = minutesAt(view, event); show(); });
    view.svg.addEventListener("dblclick", () => zoom(whole[0], whole[1]));
  }
  addEventListener("pointerup", () => {
    const begin = from;
    from = null;
    const least = (shown[1] - shown[0]) / 50;
    if (begin !== null && Math.abs(at - begin) > least) zoom(Math.min(begin, at), Math.max(begin, at));
    else if (begin !== null) show();
  });
}
