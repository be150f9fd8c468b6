// A board shows a layout with tiles. It knows no page: what it does hangs on data- attributes.
//   data-tile=name      is filled with that tile              data-act=name   a button that reports
//   data-id=id          the row or thing around a button      data-href=path  a row that opens
//   data-select         a ticked row, data-select-all all     data-bulk       shown when rows are ticked
//   data-chart=json     an ECharts picture                    data-copy=text  a button that copies
//   data-age=ago|for|in|at  a <time> kept up to date          data-drop=path  takes dropped files there
//   data-forward=path  goes there at once, in place of this address
//   data-panel=name     opens the next element [data-panel-of=name]
//   data-tokens=name    a field for a number of tokens, said plainly in [data-tokens-of=name]

export function render({model, view}) {
  const root = document.createElement("div")
  root.className = "board"
  adopt(view.shadow_el)
  const board = {model, root, number: 0, layout: null, tiles: {}, charts: new Map(), ticked: new Map(), all: false}
  show(board)
  model.on("content", () => show(board))
  listen(board)
  const clock = setInterval(() => { keep_ages(root) }, 10000)
  const themed = () => { for (const chart of board.charts.values()) { draw(chart) } }
  document.addEventListener("obm:theme", themed)
  const beaten = (event) => { for (const one of root.querySelectorAll("[data-beat]")) { show_beat(one, event.detail) } }
  document.addEventListener("obm:beat", beaten)
  const sized = new ResizeObserver(() => { for (const chart of board.charts.values()) { chart.picture.resize() } })
  sized.observe(root)
  model.on("remove", () => {
    clearInterval(clock)
    document.removeEventListener("obm:theme", themed)
    document.removeEventListener("obm:beat", beaten)
    sized.disconnect()
    for (const chart of board.charts.values()) { chart.picture.dispose() }
  })
  return root
}

let shared
function adopt(shadow) {
  if (!shared) {
    const found = [...document.querySelectorAll("style")].find((style) => style.textContent.includes("--obm-paper"))
    shared = new CSSStyleSheet()
    shared.replaceSync(found ? found.textContent : "")
  }
  shadow.adoptedStyleSheets = [...shadow.adoptedStyleSheets, shared]
}

// Each content holds all that was not confirmed before it; an older one may come late.
function show(board) {
  const {number, layout, tiles} = board.model.content
  if (number <= board.number) { return }
  board.number = number
  if (layout !== undefined && layout !== board.layout) { lay_out(board, layout) }
  if (board.layout === null) { return }
  fill(board, tiles)
  board.model.confirmed = number
}

function lay_out(board, layout) {
  board.layout = layout
  for (const chart of board.charts.values()) { chart.picture.dispose() }
  board.charts.clear()
  board.ticked.clear()
  board.all = false
  board.tiles = {}
  board.root.innerHTML = layout
}

function fill(board, tiles) {
  for (const [name, text] of Object.entries(tiles)) {
    if (board.tiles[name] === text) { continue }
    board.tiles[name] = text
    const place = board.root.querySelector(`[data-tile="${name}"]`)
    if (place) { replace(board, place, text) }
  }
  for (const field of board.root.querySelectorAll("[data-remembered]")) {
    const known = localStorage.getItem(field.dataset.remembered)
    if (known !== null) { field.value = known }
  }
  keep_ages(board.root)
}

function replace(board, place, text) {
  const focused = mark_of(board, place)
  const typed = typed_in(board, place)
  const opened = [...place.querySelectorAll("details[open][id]")].map((one) => one.id)
  const scrolled = [...place.querySelectorAll("[data-scroll]")].map((one) => [one.dataset.scroll, one.scrollLeft])
  const kept = keep_charts(board, place)
  place.innerHTML = text
  place.removeAttribute("aria-busy")
  for (const id of opened) { place.querySelector(`details[id="${CSS.escape(id)}"]`)?.setAttribute("open", "") }
  for (const [name, left] of scrolled) {
    const one = place.querySelector(`[data-scroll="${name}"]`)
    if (one) { one.scrollLeft = left }
  }
  draw_charts(board, place, kept)
  tick_again(board, place)
  give_back(place, typed, focused)
  const forward = place.querySelector("[data-forward]")
  if (forward) { document.dispatchEvent(new CustomEvent("obm:replace", {detail: forward.dataset.forward})) }
}

// What is focused: an element with data-id and data-act, or a field with a name.
function mark_of(board, place) {
  const active = board.root.getRootNode().activeElement
  if (!active || !place.contains(active)) { return null }
  const row = active.closest("[data-id]")
  return {
    id: row?.dataset.id, act: active.dataset.act, name: active.name, key: active.id,
    href: active.getAttribute("href"), isRow: row === active,
  }
}

function typed_in(board, place) {
  const active = board.root.getRootNode().activeElement
  const isField = active && place.contains(active) && active.matches("input:not([type=checkbox]),textarea,select")
  return isField ? {value: active.value, start: active.selectionStart, end: active.selectionEnd} : null
}

function give_back(place, typed, mark) {
  if (!mark) { return }
  const found = find_mark(place, mark)
  if (!found) { return }
  if (typed && "value" in found) {
    found.value = typed.value
    try { found.setSelectionRange(typed.start, typed.end) } catch { /* not a text field */ }
  }
  found.focus({preventScroll: true})
}

function find_mark(place, mark) {
  if (mark.key) { return place.querySelector(`#${CSS.escape(mark.key)}`) }
  const scope = mark.id ? place.querySelector(`[data-id="${CSS.escape(mark.id)}"]`) : place
  if (!scope) { return null }
  if (mark.isRow) { return scope }
  if (mark.act) { return scope.querySelector(`[data-act="${CSS.escape(mark.act)}"]`) ?? (mark.id ? scope : null) }
  if (mark.name) { return scope.querySelector(`[name="${CSS.escape(mark.name)}"]`) }
  if (mark.href) { return scope.querySelector(`a[href="${CSS.escape(mark.href)}"]`) }
  return null
}

// --- what people do -----------------------------------------------------------------------

function listen(board) {
  const {root} = board
  root.addEventListener("click", (event) => on_click(board, event))
  root.addEventListener("change", (event) => on_change(board, event))
  root.addEventListener("submit", (event) => on_submit(board, event))
  root.addEventListener("input", (event) => {
    if (event.target.dataset.tokens) { say_tokens(root, event.target) }
  })
  root.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches("[data-href]")) { open_row(event.target, event) }
  })
  root.addEventListener("dragover", (event) => {
    const zone = event.target.closest("[data-drop]")
    if (zone) { event.preventDefault(); zone.classList.add("over") }
  })
  root.addEventListener("dragleave", (event) => event.target.closest("[data-drop]")?.classList.remove("over"))
  root.addEventListener("drop", (event) => {
    const zone = event.target.closest("[data-drop]")
    if (!zone) { return }
    event.preventDefault()
    zone.classList.remove("over")
    leave_files(zone, [...event.dataTransfer.files])
  })
}

// The page that uploads takes the files from here, which is why this must not be a page load.
function leave_files(zone, files) {
  if (!files.length) { return }
  window.obmDroppedFiles = files
  document.dispatchEvent(new CustomEvent("obm:go", {detail: zone.dataset.drop}))
  document.dispatchEvent(new CustomEvent("obm:files", {detail: files}))
}

function on_click(board, event) {
  const target = event.target
  if (target.closest("a[href]")) { return }
  const button = target.closest("button,[data-act]:not(form):not(input):not(select)")
  if (button) {
    if (button.dataset.copy !== undefined) { copy(button) }
    else if (button.dataset.panel) { toggle_panel(board, button) }
    else if (button.dataset.tick) { tick_button(board, button) }
    else if (button.dataset.act && button.type !== "submit") { report(board, button, button.dataset.act, {}) }
    return
  }
  if (target.closest("input,label,select,summary,textarea")) { return }
  const row = target.closest("[data-href]")
  if (row && !String(document.getSelection())) { open_row(row, event) }
}

function open_row(row, event) {
  if (event.ctrlKey || event.metaKey) { window.open(row.dataset.href, "_blank", "noopener"); return }
  document.dispatchEvent(new CustomEvent("obm:go", {detail: row.dataset.href}))
}

function on_change(board, event) {
  const target = event.target
  if (target.matches("[data-select],[data-select-all]")) { tick(board, target); return }
  if (target.matches("input[type=file]") && target.closest("[data-drop]")) {
    leave_files(target.closest("[data-drop]"), [...target.files])
    return
  }
  if (target.dataset.remember) {
    localStorage.setItem(target.dataset.remember, target.value)
    document.dispatchEvent(new CustomEvent("obm:remembered"))
  }
  if (target.dataset.signal) {
    document.dispatchEvent(new CustomEvent(`obm:${target.dataset.signal}`, {detail: target.value}))
  } else if (target.matches("[data-submit]")) {
    target.form.requestSubmit()
  } else if (target.dataset.act && target.form == null) {
    report(board, target, target.dataset.act, {value: target.type === "checkbox" ? String(target.checked) : target.value})
  }
}

// A form with data-act reports its fields. One without, by GET, is a link with fields: empty ones
// are left out, so that addresses stay short. (Submit events do not leave a shadow root.)
function on_submit(board, event) {
  const form = event.target
  if (form.dataset.act) {
    event.preventDefault()
    const values = Object.fromEntries(new FormData(form, event.submitter).entries())
    report(board, form, event.submitter?.dataset.act || form.dataset.act, values)
    return
  }
  const address = new URL(form.action)
  if (form.method !== "get" || address.origin !== location.origin || !`${address.pathname}/`.startsWith("/ui/")) { return }
  event.preventDefault()
  const fields = new URLSearchParams()
  for (const [name, value] of new FormData(form, event.submitter)) {
    if (typeof value === "string" && value.trim()) { fields.set(name, value.trim()) }
  }
  const path = address.pathname + (fields.size ? `?${fields}` : "")
  document.dispatchEvent(new CustomEvent("obm:go", {detail: path}))
}

function report(board, element, action, values) {
  const table = element.closest("[data-selectable]") ?? board.root.querySelector("[data-selectable]")
  const ticked = table ? [...(board.ticked.get(table.dataset.selectable) ?? [])] : []
  board.model.event = {
    action, id: element.closest("[data-id]")?.dataset.id ?? "", values,
    selected: ticked, all: board.all, stamp: Date.now() + Math.random(),
  }
}

async function copy(button) {
  const said = button.dataset.copied ?? "Copied"
  try { await navigator.clipboard.writeText(button.dataset.copy) }
  catch { copy_the_old_way(button.dataset.copy) }
  document.dispatchEvent(new CustomEvent("obm:toast", {detail: {text: said, tone: "success"}}))
}

// navigator.clipboard is there on https and localhost only.
function copy_the_old_way(text) {
  const field = document.createElement("textarea")
  field.value = text
  document.body.append(field)
  field.select()
  document.execCommand("copy")
  field.remove()
}

function toggle_panel(board, button) {
  const panel = board.root.querySelector(`[data-panel-of="${button.dataset.panel}"]`)
  if (!panel) { return }
  panel.hidden = !panel.hidden
  button.setAttribute("aria-expanded", String(!panel.hidden))
}

// As `read_tokens` of the server reads it: 2000000, 2,000,000, 2_000_000, 900k, 2M.
function say_tokens(root, field) {
  const said = root.querySelector(`[data-tokens-of="${CSS.escape(field.dataset.tokens)}"]`)
  if (!said) { return }
  const found = /^(\d+(?:\.\d+)?)([km]?)$/i.exec(field.value.replace(/[\s,_']/g, ""))
  const tokens = found ? Math.round(Number(found[1]) * {"": 1, k: 1e3, m: 1e6}[found[2].toLowerCase()]) : 0
  said.textContent = tokens > 0 ? `${SAY.number(tokens)} (${SAY.compact(tokens)})` : field.value.trim() ? "not a number above 0" : ""
}

// --- ticked rows ---------------------------------------------------------------------------

function tick(board, box) {
  const table = box.closest("[data-selectable]")
  const ticked = ticked_in(board, table)
  const boxes = box.matches("[data-select-all]") ? [...table.querySelectorAll("[data-select]")] : [box]
  for (const one of boxes) {
    if (box.checked) { ticked.add(one.value) } else { ticked.delete(one.value) }
  }
  board.all = false
  show_ticks(board, table)
}

function tick_button(board, button) {
  const table = button.closest("[data-selectable]")
  if (button.dataset.tick === "all") { board.all = true }
  else { ticked_in(board, table).clear(); board.all = false }
  show_ticks(board, table)
}

function ticked_in(board, table) {
  const name = table.dataset.selectable
  if (!board.ticked.has(name)) { board.ticked.set(name, new Set()) }
  return board.ticked.get(name)
}

// Rows that another page or filter shows are not ticked any more: nobody sees them.
function tick_again(board, place) {
  for (const table of place.querySelectorAll("[data-selectable]")) {
    const ticked = ticked_in(board, table)
    const here = new Set([...table.querySelectorAll("[data-select]")].map((one) => one.value))
    for (const id of ticked) { if (!here.has(id)) { ticked.delete(id) } }
    show_ticks(board, table)
  }
}

function show_ticks(board, table) {
  const ticked = ticked_in(board, table)
  if (!ticked.size) { board.all = false }
  const boxes = [...table.querySelectorAll("[data-select]")]
  for (const box of boxes) {
    box.checked = board.all || ticked.has(box.value)
    box.closest("tr")?.classList.toggle("ticked", box.checked)
  }
  const every = table.querySelector("[data-select-all]")
  if (every) {
    every.checked = boxes.length > 0 && boxes.every((box) => box.checked)
    every.indeterminate = !every.checked && ticked.size > 0
  }
  const bulk = table.querySelector("[data-bulk]")
  if (!bulk) { return }
  bulk.hidden = !ticked.size
  const whole = Number(bulk.dataset.bulk)
  const count = board.all ? whole : ticked.size
  bulk.querySelector("[data-count]").textContent = `${count.toLocaleString("en-US")} selected`
  const offer = bulk.querySelector('[data-tick="all"]')
  if (offer) { offer.hidden = board.all || !every?.checked || whole <= ticked.size }
}

// --- charts ----------------------------------------------------------------------------------

function keep_charts(board, place) {
  const kept = new Map()
  for (const node of place.querySelectorAll("[data-chart]")) {
    const chart = board.charts.get(node)
    if (chart) { kept.set(node.id, [node, chart]); board.charts.delete(node) }
  }
  return kept
}

// A chart with an id is moved into the new HTML: it changes instead of being drawn anew.
function draw_charts(board, place, kept) {
  for (const node of place.querySelectorAll("[data-chart]")) {
    const before = node.id ? kept.get(node.id) : null
    if (before) {
      const [old, chart] = before
      kept.delete(node.id)
      const text = node.dataset.chart
      old.dataset.chart = text
      node.replaceWith(old)
      chart.text = text
      draw(chart)
      board.charts.set(old, chart)
    } else if (window.echarts) {
      const chart = {node, text: node.dataset.chart, picture: window.echarts.init(node, null, {renderer: "canvas"})}
      chart.picture.on("click", (what) => {
        const path = what.data?.href
        if (path) { document.dispatchEvent(new CustomEvent("obm:go", {detail: path})) }
      })
      draw(chart)
      board.charts.set(node, chart)
    }
  }
  for (const [, chart] of kept.values()) { chart.picture.dispose() }
}

function draw(chart) {
  const options = coloured(JSON.parse(chart.text), getComputedStyle(document.documentElement))
  options.animation = false
  options.textStyle = {fontFamily: getComputedStyle(document.documentElement).getPropertyValue("--obm-sans")}
  for (const axis of [options.xAxis, options.yAxis].flat()) {
    if (axis?.axisLabel?.say) { axis.axisLabel.formatter = SAY[axis.axisLabel.say] }
  }
  if (options.tooltip?.say) { options.tooltip.valueFormatter = SAY[options.tooltip.say] }
  chart.picture.setOption(options, true)
}

const SAY = {
  compact: (value) => Intl.NumberFormat("en-US", {notation: "compact", maximumFractionDigits: 1}).format(value),
  number: (value) => value == null ? "–" : Number(value).toLocaleString("en-US"),
  money: (value) => value == null ? "unknown" : `$${Number(value).toLocaleString("en-US", {maximumFractionDigits: 2})}`,
  percent: (value) => value == null ? "–" : `${(100 * value).toFixed(1)}%`,
}

// Colours in options may be written var(--name): they follow the theme.
function coloured(value, styles) {
  if (typeof value === "string") {
    const found = /^var\((--[a-z0-9-]+)\)$/.exec(value)
    return found ? styles.getPropertyValue(found[1]).trim() : value
  }
  if (Array.isArray(value)) { return value.map((one) => coloured(one, styles)) }
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, coloured(one, styles)]))
  }
  return value
}

// --- times -----------------------------------------------------------------------------------

const UNITS = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]]

function keep_ages(root) {
  const now = Date.now()
  for (const element of root.querySelectorAll("time[data-age]")) {
    const at = new Date(element.dateTime)
    const text = said_age(element.dataset.age, at, (now - at) / 1000)
    if (element.textContent !== text) { element.textContent = text }
    const title = `${at.toLocaleString("sv-SE")} local · ${element.dateTime.replace("T", " ").replace("+00:00", "")} UTC`
    if (element.title !== title) { element.title = title }
  }
}

function said_age(kind, at, seconds) {
  if (kind === "at") { return at.toLocaleString("sv-SE").slice(0, 16) }
  const passed = kind === "in" ? -seconds : seconds
  if (kind === "ago" && passed < 5) { return "just now" }
  if (kind === "in" && passed <= 0) { return "now" }
  const whole = Math.max(0, Math.floor(passed))
  const [unit, length] = UNITS.find(([, one]) => whole >= one) ?? ["s", 1]
  const text = `${Math.floor(whole / length)}${unit}`
  return kind === "ago" ? `${text} ago` : kind === "in" ? `in ${text}` : text
}

function show_beat(element, beat) {
  const at = beat.as_of ? new Date(beat.as_of) : null
  element.classList.toggle("stale", Boolean(beat.trouble))
  element.textContent = at ? `as of ${at.toLocaleTimeString("sv-SE")}` : "no data yet"
  element.title = beat.trouble ? `The newest state cannot be read: ${beat.trouble}` : "The ledger is known as it was at this moment"
}
