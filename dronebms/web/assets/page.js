/* SPDX-License-Identifier: Apache-2.0 */
// Shows the texts of the server-sent events. It has no wording and no values of its own: every text
// is set as text, never as HTML.
"use strict";

const SILENT_MS = 2500; // without a message no value is shown any longer
const AGAIN_MS = 4000; // without a message a new connection is opened

const byId = id => document.getElementById(id);
let blank = {}, newest = {}, trends = {};
let source, receivedMs = performance.now(), openedMs = -Infinity, lost = false;

// An element as data: [tag and classes, text or elements, attributes].
function update(element, classes, content, attributes) {
  if (element.getAttribute("class") !== classes) element.setAttribute("class", classes);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "share") element.style.width = value * 100 + "%";
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }
  if (Array.isArray(content)) fill(element, content);
  else if (element.textContent !== String(content)) element.textContent = content;
}

// Makes the children equal to the rows; what is equal already is left as it is.
function fill(parent, rows) {
  rows = rows.filter(row => row);
  rows.forEach(([kind, content, attributes], place) => {
    const [tag, ...classes] = kind.split(".");
    let child = parent.children[place];
    if (!child || child.localName !== tag) {
      const space = ["svg", "path"].includes(tag) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
      const made = document.createElementNS(space, tag);
      child ? child.replaceWith(made) : parent.append(made);
      child = made;
    }
    update(child, classes.join(" "), content, attributes);
  });
  while (parent.children.length > rows.length) parent.lastElementChild.remove();
}

function answer(row) {
  const kind = row.severity ? "." + row.severity : "";
  return ["div.answer" + kind, [
    ["span.label", row.label],
    ["strong", (row.mark ? row.mark + " " : "") + row.word, {"aria-live": "polite"}],
    ["span.why", row.why],
  ]];
}

function reading(row) {
  return ["div.row" + (row.stale ? ".stale" : "") + (row.weakest ? ".weakest" : ""), [
    ["span.label", row.label],
    ["span.value", row.value],
    ["span.bar", row.share === null ? [] : [["span.full", "", {share: row.share}]]],
    ["span.note", row.note],
    ["span.age", row.age],
  ]];
}

function chart(row) {
  return ["figure", [
    ["figcaption", [["span", row.label], ["span.scale", row.top ? row.bottom + " - " + row.top : ""]]],
    ["svg", [["path.band", "", {d: row.band}], ["path.line", "", {d: row.line}]],
      {viewBox: "0 0 600 100", preserveAspectRatio: "none", role: "img", "aria-label": row.label}],
    ["p.span", row.span],
  ]];
}

function battery(row) {
  const charts = trends[row.index] || [];
  return ["section.battery", [
    ["h2", row.name],
    ["div.left", [["strong", row.left], ["div", [["p", row.interval], ["p", row.until], ["p", row.default]]]]],
    ["div.readings", row.readings.map(reading)],
    ["p.autopilot", row.autopilot],
    ["p.history", row.history],
    ["div.charts", charts.map(chart)],
    ["h3", row.heading],
    ["div.cells", row.cells.map(reading)],
    ["div.doubts", row.doubts.map(text => ["p", text])],
  ]];
}

function draw() {
  const state = lost || !newest.batteries ? blank : newest;
  const seconds = Math.floor((performance.now() - receivedMs) / 1000);
  const notice = lost && !newest.full ? document.body.dataset.lost.replace("{}", seconds) : newest.notice || "";
  byId("notice").hidden = !notice;
  if (byId("notice").textContent !== notice) byId("notice").textContent = notice;
  document.body.classList.toggle("lost", lost);
  const batteries = state.batteries || [];
  byId("clock").textContent = [state.clock, state.age].filter(text => text).join("  ");
  byId("name").textContent = batteries.length === 1 ? batteries[0].name : "dronebms";
  document.body.classList.toggle("several", batteries.length > 1);
  fill(byId("answers"), (state.answers || []).map(answer));
  fill(byId("batteries"), batteries.map(battery));
}

function drawAlarms(rows) {
  byId("alarms").hidden = rows.length === 0; // the state has the words for none
  const lines = rows.map(row => ["p." + row.severity, [
    ["span.time", row.time], ["span.mark", row.mark], ["span", row.text]]]);
  fill(byId("alarms").lastElementChild, lines);
}

function open() {
  if (source) source.close();
  openedMs = performance.now();
  source = new EventSource("events");
  const on = (kind, use) => source.addEventListener(kind, event => {
    receivedMs = performance.now();
    lost = false;
    use(JSON.parse(event.data));
  });
  on("blank", data => { blank = data; });
  on("alarms", drawAlarms);
  on("trend", data => { trends = data; });
  on("state", data => { newest = data; draw(); });
}

setInterval(() => {
  const silentMs = performance.now() - receivedMs;
  if (silentMs > SILENT_MS) { lost = true; draw(); }
  const retries = newest.full && source.readyState !== EventSource.CLOSED; // by itself, more slowly
  if (silentMs > AGAIN_MS && !retries && performance.now() - openedMs > AGAIN_MS) open();
}, 250);
// A page that was in the background may show old values until its timers run again.
document.addEventListener("visibilitychange", () => {
  if (performance.now() - receivedMs > SILENT_MS) { lost = true; draw(); }
});
open();
