"use strict";
// What the page can do beyond being read: colours, contents, sorting, filtering, pointing at curves, comparing trials.
// Texts of the data are only ever set as text, never as markup. Without this script nothing is missing but comfort.

const MOST_CHOSEN = 6;
const SVG = "http://www.w3.org/2000/svg";

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function draw(tag, attributes = {}) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// --- colours and contents -----------------------------------------------------------------------------------------

function colours() {
  const select = make("select");
  for (const [value, words] of [["", "as the system"], ["light", "light"], ["dark", "dark"]]) {
    select.append(make("option", { value, textContent: words }));
  }
  const apply = (value) => {
    if (value) document.documentElement.dataset.colours = value;
    else delete document.documentElement.dataset.colours;
  };
  try { select.value = localStorage.getItem("harness-colours") || ""; } catch { /* a browser that keeps nothing */ }
  apply(select.value);
  select.addEventListener("change", () => {
    apply(select.value);
    try { localStorage.setItem("harness-colours", select.value); } catch { /* as above */ }
  });
  document.querySelector("nav").append(make("label", { className: "colours" }, "Colours ", select));
}

function contents() {
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.getAttribute("href").slice(1), link]));
  const seen = new Set();
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) entry.isIntersecting ? seen.add(entry.target.id) : seen.delete(entry.target.id);
    let found = false;
    for (const [id, link] of links) {
      if (!found && seen.has(id)) { link.setAttribute("aria-current", "true"); found = true; }
      else link.removeAttribute("aria-current");
    }
  }, { rootMargin: "-20% 0px -60% 0px" });
  document.querySelectorAll("main > section").forEach((section) => observer.observe(section));
}

// --- tables ---------------------------------------------------------------------------------------------------------

const COLLATOR = new Intl.Collator(undefined, { numeric: true });

/** The number that a cell begins with, as 1,234 or −0.5 or 79.8†; NaN for text and for what is missing. */
function numberOf(text) {
  const found = /^[<]?(-?[\d,]*\.?\d+(?:e-?\d+)?)/.exec(text.trim().replace("−", "-"));
  return found ? Number(found[1].replaceAll(",", "")) : NaN;
}

const textOf = (row, column) => row.querySelectorAll("td")[column].textContent;

function ordered(rows, column, numeric, descending) {
  const keyed = rows.map((row) => {
    const text = textOf(row, column);
    const number = numeric ? numberOf(text) : NaN;
    return { row, text, number, missing: text === "–" || (numeric && Number.isNaN(number)) };
  });
  const sign = descending ? -1 : 1;
  keyed.sort((a, b) => {
    if (a.missing || b.missing) return a.missing - b.missing; // what is missing stands last in either direction
    return sign * (numeric ? a.number - b.number : COLLATOR.compare(a.text, b.text));
  });
  return keyed.map((each) => each.row);
}

function sortable(table) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = make("button", { type: "button", textContent: heading.textContent, title: "sort" });
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((each) => each.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      body.append(...ordered([...body.rows], column, heading.classList.contains("number"), descending));
    });
  });
}

const plainName = (text) => text.toLowerCase().replace(/\(.*\)/, "").trim().replace(/[\s_]+/g, "_");

/** A condition such as accuracy>79 or freeze=top-2 as a function of a row; a word that any cell may hold otherwise. */
function condition(word, names) {
  const found = /^([^<>=]+)(<=|>=|<|>|=)(.+)$/.exec(word);
  const column = found ? names.findIndex((name) => name.startsWith(plainName(found[1]))) : -1;
  if (column < 0) return (row) => row.textContent.toLowerCase().includes(word.toLowerCase());
  const [, , sign, value] = found;
  const wanted = Number(value);
  return (row) => {
    const text = textOf(row, column);
    const number = numberOf(text);
    if (Number.isNaN(wanted) || Number.isNaN(number)) return sign === "=" && text.toLowerCase() === value.toLowerCase();
    return { "<": number < wanted, ">": number > wanted, "<=": number <= wanted, ">=": number >= wanted, "=": number === wanted }[sign];
  };
}

function filterable(table, where) {
  const rows = [...table.tBodies[0].rows];
  const names = [...table.tHead.rows[0].cells].map((cell) => plainName(cell.textContent));
  const field = make("input", { type: "search", autocomplete: "off", spellcheck: false });
  const example = names.find((name) => ["accuracy", "exact_match", "f1", "validation_loss"].includes(name)) || names[0];
  const first = numberOf(textOf(rows[0], names.indexOf(example)));
  const such = Number.isNaN(first) ? "" : `, or conditions such as ${example}${example.includes("loss") ? "<" : ">"}${first}`;
  const hint = make("p", { textContent: `Words that a row must hold${such}` });
  const told = make("p");
  told.setAttribute("role", "status");
  field.addEventListener("input", () => {
    const asked = field.value.split(/\s+/).filter(Boolean).map((word) => condition(word, names));
    let shown = 0;
    for (const row of rows) {
      const fits = asked.every((each) => each(row));
      row.classList.toggle("filtered", !fits);
      shown += fits;
    }
    told.textContent = asked.length ? `${shown} of ${rows.length} rows` : "";
  });
  where.before(make("div", { className: "tools" }, make("label", {}, "Filter "), told, hint));
  const label = where.previousElementSibling.querySelector("label");
  field.id = `filter-${table.closest("figure").id}`;
  label.htmlFor = field.id;
  label.after(field);
}

function tables() {
  for (const figure of document.querySelectorAll("figure.table")) {
    const table = figure.querySelector("table");
    if (table.tBodies[0].rows.length < 2) continue;
    if (table.tBodies[0].rows.length > 8) filterable(table, figure.querySelector(".scroll"));
    sortable(table);
  }
}

// --- curves ---------------------------------------------------------------------------------------------------------

/** A panel's points with their places, by trial and in the order of the table. */
function pointsOf(panel) {
  const [first, last, low, high] = panel.dataset.domain.split(" ").map(Number);
  const [left, top, right, bottom] = panel.dataset.box.split(" ").map(Number);
  const found = new Map();
  for (const line of [...panel.querySelectorAll(".line")].reverse()) {
    found.set(line.dataset.trial, line.dataset.points.split(" ").map((point) => {
      const [epoch, value] = point.split(":");
      const x = left + ((epoch - first) / (last - first)) * (right - left);
      const y = bottom - ((value - low) / (high - low)) * (bottom - top);
      return { trial: line.dataset.trial, epoch, value, x, y, line };
    }));
  }
  return found;
}

class Panel {
  constructor(element, explorer) {
    this.element = element;
    this.explorer = explorer;
    this.svg = element.querySelector("svg");
    this.points = pointsOf(element);
    this.mark = draw("circle", { r: 5, class: "mark", visibility: "hidden" });
    this.svg.append(this.mark);
    this.tip = make("div", { className: "tip", hidden: true });
    element.append(this.tip);
    this.listen();
  }

  listen() {
    const element = this.element;
    element.tabIndex = 0;
    element.setAttribute("role", "application");
    element.setAttribute("aria-label", `${element.dataset.title} by epoch: left and right read the epochs, up and down the trials, Enter chooses a trial`);
    this.svg.addEventListener("pointermove", (event) => this.show(this.nearest(event)));
    this.svg.addEventListener("pointerleave", () => this.show(null));
    this.svg.addEventListener("click", (event) => {
      const point = this.nearest(event);
      if (point) this.explorer.toggle(point.trial);
    });
    element.addEventListener("keydown", (event) => this.key(event));
    element.addEventListener("focus", () => this.current || this.read(this.points.values().next().value.at(-1)));
    element.addEventListener("blur", () => this.show(null));
  }

  nearest(event) {
    const box = this.svg.getBoundingClientRect();
    const scale = this.svg.viewBox.baseVal.width / box.width;
    const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    let best = null;
    let distance = 30 ** 2;
    for (const points of this.points.values()) {
      for (const point of points) {
        const far = (point.x - x) ** 2 + (point.y - y) ** 2;
        if (far < distance) [best, distance] = [point, far];
      }
    }
    return best;
  }

  show(point) {
    this.current?.line.classList.remove("pointed");
    this.current = point;
    this.tip.hidden = !point;
    this.mark.setAttribute("visibility", point ? "visible" : "hidden");
    if (!point) return;
    point.line.classList.add("pointed");
    this.mark.setAttribute("cx", point.x);
    this.mark.setAttribute("cy", point.y);
    this.tip.replaceChildren(make("strong", { textContent: `epoch ${point.epoch}: ${point.value}` }), this.explorer.name(point.trial));
    const scale = this.svg.clientWidth / this.svg.viewBox.baseVal.width;
    const right = point.x > this.svg.viewBox.baseVal.width / 2;
    this.tip.style.top = `${Math.max(0, this.svg.offsetTop + point.y * scale - 20)}px`;
    this.tip.style.left = right ? "auto" : `${this.svg.offsetLeft + point.x * scale + 14}px`;
    this.tip.style.right = right ? `${this.element.clientWidth - this.svg.offsetLeft - point.x * scale + 14}px` : "auto";
  }

  read(point) {
    this.show(point);
    this.explorer.say(`${this.element.dataset.title}, trial ${this.explorer.name(point.trial)}, epoch ${point.epoch}: ${point.value}`);
  }

  key(event) {
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const at = this.current;
    if (!at || !(event.key in steps || event.key === "Enter" || event.key === " ")) return;
    event.preventDefault();
    if (!(event.key in steps)) { this.explorer.toggle(at.trial); return; }
    const trials = [...this.points.keys()];
    const [down, along] = steps[event.key];
    const place = Math.min(Math.max(trials.indexOf(at.trial) + down, 0), trials.length - 1);
    const points = this.points.get(trials[place]);
    const same = points.findIndex((point) => point.epoch === at.epoch);
    const next = (same < 0 ? points.length - 1 : same) + along;
    this.read(points[Math.min(Math.max(next, 0), points.length - 1)]);
  }
}

/** The curves of one study with the table of its trials: what is chosen in one is seen in the other. */
class Explorer {
  constructor(figure) {
    this.figure = figure;
    this.table = document.getElementById(figure.dataset.table)?.querySelector("table");
    this.names = new Map([...figure.querySelectorAll(".line")].map((line) => [line.dataset.trial, line.querySelector("title").textContent]));
    this.chosen = new Map();
    this.status = make("p", { className: "small" });
    this.status.setAttribute("role", "status");
    // The browser's own hint would lie over ours.
    figure.querySelectorAll(".line title").forEach((title) => title.remove());
    this.compare = make("div", { className: "compare" });
    figure.append(this.status, this.compare);
    this.panels = [...figure.querySelectorAll(".panel")].map((element) => new Panel(element, this));
    if (this.table) this.boxes();
    this.update();
  }

  name(trial) { return this.names.get(trial) || trial; }

  say(words) { this.status.textContent = words; }

  boxes() {
    this.rows = new Map();
    this.table.tHead.rows[0].prepend(make("th", { className: "pick", scope: "col", textContent: "compare" }));
    for (const row of this.table.tBodies[0].rows) {
      const trial = row.cells[0].textContent.trim();
      const box = make("input", { type: "checkbox" });
      box.setAttribute("aria-label", `compare trial ${trial}`);
      box.addEventListener("change", () => this.toggle(trial));
      row.prepend(make("th", { className: "pick", scope: "row" }, box));
      this.rows.set(trial, row);
    }
  }

  toggle(trial) {
    if (this.chosen.has(trial)) this.chosen.delete(trial);
    else if (this.chosen.size >= MOST_CHOSEN) this.say(`${MOST_CHOSEN} trials at most can be compared; take one out first`);
    else {
      const free = Array.from({ length: MOST_CHOSEN }, (_, place) => place + 1).find((hue) => ![...this.chosen.values()].includes(hue));
      this.chosen.set(trial, free);
    }
    this.update();
  }

  update() {
    this.figure.classList.toggle("choosing", this.chosen.size > 0);
    for (const line of this.figure.querySelectorAll(".line")) {
      const hue = this.chosen.get(line.dataset.trial);
      line.setAttribute("class", line.getAttribute("class").replace(/ (chosen|hue-\d)/g, "") + (hue ? ` chosen hue-${hue}` : ""));
      if (hue) line.parentNode.append(line);
    }
    for (const [trial, row] of this.rows || []) {
      const hue = this.chosen.get(trial);
      row.className = row.className.replace(/\s*(chosen|hue-\d)/g, "") + (hue ? ` chosen hue-${hue}` : "");
      row.querySelector("input").checked = Boolean(hue);
    }
    this.show();
  }

  /** The chosen trials side by side, and the command that compares them. */
  show() {
    const trials = [...this.chosen.keys()];
    if (!trials.length) {
      this.compare.replaceChildren(make("p", { className: "small row", textContent: "Choose trials in the table or by a click on a curve to see them side by side." }));
      return;
    }
    const parts = [make("h3", { textContent: "Chosen trials" })];
    if (this.rows) parts.push(this.sideBySide(trials));
    parts.push(this.command(trials));
    this.compare.replaceChildren(...parts);
  }

  sideBySide(trials) {
    const headings = [...this.table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent);
    const chosen = trials.filter((trial) => this.rows.has(trial));
    const values = chosen.map((trial) => [...this.rows.get(trial).querySelectorAll("td")].map((cell) => cell.textContent));
    const head = make("tr", {}, make("td"));
    for (const trial of chosen) {
      const swatch = draw("svg", { class: "swatch", viewBox: "0 0 52 10", "aria-hidden": "true" });
      swatch.append(draw("path", { d: "M2 5H50", class: `hue-${this.chosen.get(trial)}` }));
      head.append(make("th", { scope: "col" }, swatch, `trial ${trial}`));
    }
    const body = make("tbody");
    headings.forEach((heading, column) => {
      if (column === 0) return; // the number, which heads the column here
      const own = values.map((row) => row[column]);
      const row = make("tr", { className: new Set(own).size > 1 ? "differs" : "" }, make("th", { scope: "row", textContent: heading }));
      row.append(...own.map((text) => make("td", { textContent: text })));
      body.append(row);
    });
    const scroll = make("div", { className: "scroll", tabIndex: 0 }, make("table", {}, make("thead", {}, head), body));
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "chosen trials side by side");
    return scroll;
  }

  command(trials) {
    const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
    const text = ["harness compare", ...trials.map((trial) => quoted(`${this.figure.dataset.study}:${trial}`))].join(" ");
    const row = make("p", { className: "row" });
    if (trials.length > 1) {
      const copy = make("button", { type: "button", textContent: "Copy" });
      copy.addEventListener("click", () => navigator.clipboard?.writeText(text).then(() => this.say("copied"), () => this.say("mark the command and copy it by hand")));
      row.append(make("code", { textContent: text }), copy);
    }
    const clear = make("button", { type: "button", textContent: "Clear" });
    clear.addEventListener("click", () => { this.chosen.clear(); this.update(); });
    row.append(clear);
    return row;
  }
}

colours();
contents();
tables();
document.querySelectorAll("figure.curves").forEach((figure) => new Explorer(figure));
