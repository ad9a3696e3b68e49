(() => {
  // What is drawn, how wide, how readable, and what the keyboard must reach.
  const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return { r: m[0], g: m[1], b: m[2], a: m.length > 3 ? m[3] : 1 }; };
  const lum = c => [c.r, c.g, c.b].map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (a, b) => { const [x, y] = [lum(a), lum(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const html = el => { // the background behind an HTML element
    for (; el; el = el.parentElement) {
      const c = parse(getComputedStyle(el).backgroundColor);
      if (c.a > 0) return c;
    }
    return { r: 255, g: 255, b: 255, a: 1 };
  };
  const behind = el => { // of SVG text: the last box before it that holds its middle
    const root = el.closest("section, div, main"), box = el.getBoundingClientRect();
    const x = box.left + Math.min(box.width / 2, 4), y = box.top + box.height / 2;
    let back = html(root);
    for (const r of el.closest('svg[role="img"]').querySelectorAll("rect, text")) {
      if (r === el) break;
      if (r.tagName !== "rect") continue;
      const b = r.getBoundingClientRect(), fill = getComputedStyle(r).fill;
      if (x >= b.left && x <= b.right && y >= b.top && y <= b.bottom && fill !== "none") back = parse(fill);
    }
    return back;
  };
  const name = el => el.tagName.toLowerCase() + ":" + (el.getAttribute("aria-label") || el.textContent).trim().replace(/\s+/g, " ").slice(0, 60);
  const out = { charts: [], wide: 0, wider: [], covered: [], faults: [], pale: [], texts: 0, targets: [], back: getComputedStyle(document.body).backgroundColor };

  for (const svg of document.querySelectorAll('svg[role="img"]')) {
    const marks = [...svg.querySelectorAll(".mark")];
    const empty = [svg, ...marks].filter(m => { const b = m.getBoundingClientRect(); return b.width < 1 || b.height < 1; });
    const label = svg.getAttribute("aria-labelledby").split(" ").map(id => document.getElementById(id));
    out.charts.push({ id: svg.id, name: label.every(Boolean) ? label[0].textContent : "no label", marks: marks.length,
      empty: empty.length, texts: svg.querySelectorAll("text").length });
  }

  for (const svg of document.querySelectorAll("svg.chart")) { // no text of a chart covers another
    const texts = [...svg.querySelectorAll("text")].map(t => [t, t.getBoundingClientRect()]);
    texts.forEach(([a, p], i) => texts.slice(i + 1).forEach(([b, q]) => {
      if (p.left < q.right && q.left < p.right && p.top < q.bottom - 2 && q.top < p.bottom - 2) out.covered.push(name(a) + " and " + name(b));
    }));
  }

  const root = document.documentElement;
  out.wide = root.scrollWidth - root.clientWidth;
  for (const el of document.querySelectorAll("main *")) {
    if (el.getBoundingClientRect().right > root.clientWidth + 1 && !el.closest(".scroll, pre, svg")) out.wider.push(name(el));
  }

  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n; (n = walk.nextNode());) {
    const el = n.parentElement;
    if (!n.data.trim() || ["TITLE", "DESC", "STYLE"].includes(el.tagName.toUpperCase()) || !el.checkVisibility()) continue;
    const svg = el.tagName === "text", style = getComputedStyle(el);
    const fore = parse(svg ? style.fill : style.color), back = svg ? behind(el) : html(el);
    out.texts++;
    const r = ratio(fore, back);
    if (r < 4.5) out.pale.push(r.toFixed(2) + " " + name(el));
  }

  let level = 0; // of headings, none of which is left out on the way down
  for (const h of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    const n = Number(h.tagName[1]);
    if (n > level + 1) out.faults.push("heading without one above it: " + name(h));
    level = n;
  }
  const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
  for (const id of ids.filter((id, i) => ids.indexOf(id) !== i)) out.faults.push("id twice: " + id);
  for (const e of document.querySelectorAll("[aria-labelledby]")) {
    for (const id of e.getAttribute("aria-labelledby").split(" ")) if (!document.getElementById(id)) out.faults.push("no label " + id);
  }
  for (const e of document.querySelectorAll('[tabindex="0"]')) {
    if (!e.getAttribute("role") || !e.getAttribute("aria-label")) out.faults.push("without role or label: " + name(e));
  }
  for (const t of document.querySelectorAll("table")) {
    if (!t.querySelector("th[scope]") || t.querySelector("th:not([scope])")) out.faults.push("headings without scope: " + name(t));
  }

  const list = [...document.querySelectorAll('a[href], summary, [tabindex="0"]')];
  out.targets = list.map((el, i) => i + " " + name(el));
  window.focused = () => {
    const el = document.activeElement, s = getComputedStyle(el);
    const seen = s.outlineStyle !== "none" && parseFloat(s.outlineWidth) > 0 ? "" : " without an outline";
    return list.indexOf(el) + " " + name(el) + seen;
  };
  return JSON.stringify(out);
})()
