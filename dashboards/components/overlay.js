// The dialog, the toasts and the banner. Native <dialog>: it traps the focus and knows Escape.

const TOAST_MILLISECONDS = 4000
const TROUBLE_MILLISECONDS = 10000

export function render({model, view}) {
  const root = document.createElement("div")
  const toasts = document.createElement("div")
  toasts.className = "toasts"
  toasts.setAttribute("role", "status")
  toasts.setAttribute("aria-live", "polite")
  const banner = document.createElement("div")
  banner.className = "lost"
  banner.setAttribute("role", "alert")
  banner.hidden = true
  root.append(toasts, banner)
  adopt(view.shadow_el)
  const overlay = {model, root, toasts}
  model.on("dialog", () => show_dialog(overlay))
  model.on("toast", () => show_toast(overlay, model.toast))
  document.addEventListener("obm:toast", (event) => show_toast(overlay, event.detail))
  document.addEventListener("obm:lost", () => {
    banner.hidden = false
    banner.textContent = "The server does not answer. This page comes back by itself when it does."
  })
  document.addEventListener("obm:help", () => show_help(overlay))
  return root
}

function adopt(shadow) {
  const found = [...document.querySelectorAll("style")].find((style) => style.textContent.includes("--obm-paper"))
  const sheet = new CSSStyleSheet()
  sheet.replaceSync(found ? found.textContent : "")
  shadow.adoptedStyleSheets = [...shadow.adoptedStyleSheets, sheet]
}

function show_toast(overlay, toast) {
  if (!toast?.text) { return }
  const shown = document.createElement("div")
  shown.className = `toast is-${toast.tone ?? "success"}`
  shown.textContent = toast.text
  overlay.toasts.append(shown)
  const isTrouble = toast.tone === "error" || toast.tone === "warning"
  setTimeout(() => shown.remove(), isTrouble ? TROUBLE_MILLISECONDS : TOAST_MILLISECONDS)
}

function show_dialog(overlay) {
  const {model} = overlay
  overlay.root.querySelector("dialog.asked")?.close()
  const {html, number} = model.dialog
  if (!html) { return }
  open_dialog(overlay, "asked", html, (values) => {
    model.answer = {number, given: values !== null, values: values ?? {}}
  })
}

function show_help(overlay) {
  const rows = [
    ["/", "Search"], ["g o", "Overview"], ["g b", "Batches"], ["g r", "Requests"], ["g d", "Deliveries"],
    ["g j", "Jobs"], ["g a", "Analytics"], ["g s", "Settings"], ["g t", "Audit"], ["g u", "Send requests"],
    ["j / k", "Next or previous row"], ["Enter", "Open the row"], ["Esc", "Close, or leave the field"], ["?", "This help"],
  ]
  const lines = rows.map(([key, what]) => `<div><dt><kbd>${key}</kbd></dt><dd>${what}</dd></div>`).join("")
  open_dialog(overlay, "help", `<h2>Keyboard shortcuts</h2><dl class="keys">${lines}</dl>
    <footer><button type="button" class="button" data-keep>Close</button></footer>`, () => {})
}

function open_dialog(overlay, kind, html, answered) {
  const before = focused()
  const dialog = document.createElement("dialog")
  dialog.className = `asked-of ${kind}`
  dialog.innerHTML = `<form method="dialog">${html}</form>`
  const heading = dialog.querySelector("h2")
  if (heading) { heading.id = `dialog-${kind}`; dialog.setAttribute("aria-labelledby", heading.id) }
  let values = null
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest("[data-keep]")) { dialog.close() }
  })
  dialog.querySelector("form").addEventListener("submit", (event) => {
    values = Object.fromEntries(new FormData(event.target, event.submitter).entries())
  })
  dialog.addEventListener("close", () => {
    dialog.remove()
    give_back(before)
    answered(values)
  })
  overlay.root.append(dialog)
  dialog.showModal()
}

// Rows may have been drawn anew while the dialog was open: look for the same button again.
function focused() {
  let active = document.activeElement
  while (active?.shadowRoot?.activeElement) { active = active.shadowRoot.activeElement }
  return {active, root: active?.getRootNode(), id: active?.closest("[data-id]")?.dataset.id, act: active?.dataset?.act}
}

function give_back({active, root, id, act}) {
  if (active?.isConnected) { active.focus({preventScroll: true}); return }
  const row = id ? root?.querySelector(`[data-id="${CSS.escape(id)}"]`) : root
  const button = act ? row?.querySelector(`[data-act="${CSS.escape(act)}"]`) : null
  const target = button ?? (id ? row : null)
  target?.focus({preventScroll: true})
}
