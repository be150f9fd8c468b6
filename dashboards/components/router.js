// The address bar, links, forms, keyboard, theme, visibility and connection of one session.

const UI = "/ui"
// Pages of the web process itself.
const OUTSIDE = [`${UI}/login`, `${UI}/logout`]
const HEALTH = "/health"
const LETTERS = {o: "", b: "batches", r: "requests", d: "deliveries", j: "jobs", a: "analytics", s: "settings", t: "audit", u: "upload"}

export function render({model, view}) {
  fix_base()
  const router = {model, here: () => location.pathname + location.search}
  follow_python(router)
  follow_browser(router)
  follow_theme(router)
  follow_visibility(router)
  follow_choices(router)
  follow_connection(router, view)
  follow_keys(router)
  return document.createElement("div")
}

// Panel's resources are relative to the first address; without this they are 404 after a push.
function fix_base() {
  if (document.querySelector("base")) { return }
  const base = document.createElement("base")
  base.href = location.origin + location.pathname
  document.head.prepend(base)
}

function follow_python(router) {
  const {model} = router
  model.on("path", () => {
    if (model.path && model.path !== router.here()) { history.pushState(null, "", model.path) }
  })
  const titled = () => { if (model.title) { document.title = model.title } }
  model.on("title", titled)
  titled()
  model.on("beat", () => document.dispatchEvent(new CustomEvent("obm:beat", {detail: model.beat})))
}

// The same address may be written in several ways (`:` or `%3A`); the page shown is the same.
function canonical(path) {
  const address = new URL(path, location.origin)
  return `${address.pathname}?${address.searchParams}`
}

function follow_browser(router) {
  const {model} = router
  const tell = () => {
    model.path = router.here()
    model.pops += 1
  }
  const go = (path) => {
    if (path !== router.here()) { history.pushState(null, "", path) }
    tell()
    document.querySelector(".main-content")?.scrollTo({top: 0})
  }
  router.go = go
  window.addEventListener("popstate", tell)
  document.addEventListener("obm:go", (event) => go(event.detail))
  document.addEventListener("obm:replace", (event) => {
    history.replaceState(null, "", event.detail)
    tell()
  })
  document.addEventListener("click", (event) => {
    const link = event.composedPath().find((node) => node.tagName === "A" && node.href)
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) { return }
    const address = new URL(link.href)
    if (link.target || link.hasAttribute("download") || !is_ours(address)) { return }
    event.preventDefault()
    go(address.pathname + address.search)
  }, true)
  if (canonical(router.here()) !== canonical(model.path)) { tell() }
}

function is_ours(address) {
  if (OUTSIDE.includes(address.pathname)) { return false }
  return address.origin === location.origin && (address.pathname === UI || address.pathname.startsWith(`${UI}/`))
}

function follow_theme(router) {
  const system = matchMedia("(prefers-color-scheme: dark)")
  const show = () => {
    const chosen = localStorage.getItem("obm-theme") ?? "system"
    const dark = chosen === "dark" || (chosen === "system" && system.matches)
    document.documentElement.dataset.obmTheme = dark ? "dark" : "light"
    document.documentElement.dataset.obmChosen = chosen
    router.model.dark = dark
    document.dispatchEvent(new CustomEvent("obm:theme", {detail: {dark, chosen}}))
  }
  system.addEventListener("change", show)
  document.addEventListener("obm:choose-theme", (event) => {
    localStorage.setItem("obm-theme", event.detail)
    show()
  })
  show()
}

function follow_choices(router) {
  const read = () => { router.model.rows = Number(localStorage.getItem("obm-size")) || 0 }
  document.addEventListener("obm:remembered", read)
  read()
}

function follow_visibility(router) {
  const small = matchMedia("(max-width: 599.95px)")
  let leaving = false  // what is said while the page goes away reaches a session that is gone
  addEventListener("pagehide", () => { leaving = true })
  addEventListener("pageshow", () => { leaving = false })
  const show = () => {
    if (leaving) { return }
    router.model.visible = document.visibilityState !== "hidden"
    router.model.narrow = small.matches
  }
  document.addEventListener("visibilitychange", show)
  small.addEventListener("change", show)
  const pace = Number(localStorage.getItem("obm-pace") ?? 2)
  if ([0, 2, 10].includes(pace)) { router.model.pace = pace }
  document.addEventListener("obm:choose-pace", (event) => {
    localStorage.setItem("obm-pace", String(event.detail))
    router.model.pace = Number(event.detail)
  })
  show()
}

// Panel does not come back by itself after a restart of the server: load the page again.
function follow_connection(router, view) {
  let lost = false
  view.model.document.on_event("connection_lost", () => {
    if (lost) { return }
    lost = true
    document.dispatchEvent(new CustomEvent("obm:lost"))
    const ask = async () => {
      try {
        const answer = await fetch(HEALTH, {cache: "no-store"})
        if (answer.status < 500) { location.reload(); return }
      } catch { /* not there yet */ }
      setTimeout(ask, 1000)
    }
    setTimeout(ask, 1000)
  })
}

// --- keyboard ------------------------------------------------------------------------------

function follow_keys(router) {
  let going = 0
  document.addEventListener("keydown", (event) => {
    const target = event.composedPath()[0]
    if (event.key === "Escape") { leave_field(target); return }
    if (event.ctrlKey || event.metaKey || event.altKey || is_field(target) || dialog_open()) { return }
    if (going && Date.now() - going < 1500 && event.key in LETTERS) {
      event.preventDefault()
      going = 0
      router.go(LETTERS[event.key] ? `${UI}/${LETTERS[event.key]}` : UI)
      return
    }
    going = 0
    if (event.key === "g") { going = Date.now() }
    else if (event.key === "/") { event.preventDefault(); focus_search() }
    else if (event.key === "?") { document.dispatchEvent(new CustomEvent("obm:help")) }
    else if (event.key === "j" || event.key === "k") { move_row(event.key === "j" ? 1 : -1) }
  })
}

function is_field(target) {
  return target.isContentEditable || (target.matches?.("input,textarea,select") && !["checkbox", "radio", "button"].includes(target.type))
}

function leave_field(target) {
  if (is_field(target)) { target.blur() }
}

function dialog_open() { return deep_all("dialog[open]").length > 0 }

// The page's own search before the box in the bar.
function focus_search() {
  const fields = deep_all("input[type=search]").filter((one) => one.offsetParent !== null)
  const field = fields.find((one) => one.id !== "jump") ?? fields[0]
  field?.focus()
  field?.select()
}

function move_row(step) {
  const rows = deep_all("tr[data-href]")
  if (!rows.length) { return }
  const at = rows.findIndex((row) => row.contains(row.getRootNode().activeElement))
  const next = rows[Math.min(rows.length - 1, Math.max(0, at < 0 ? 0 : at + step))]
  next.focus()
  next.scrollIntoView({block: "nearest"})
}

function deep_all(selector, from = document) {
  const found = [...from.querySelectorAll(selector)]
  for (const element of from.querySelectorAll("*")) {
    if (element.shadowRoot) { found.push(...deep_all(selector, element.shadowRoot)) }
  }
  return found
}
