// Streams dropped files to POST /api/files?hold=true, one after the other, with the cookie of this
// page; then looks how far they have been read. The place for both is [data-upload] in the board.

const LOOK_MILLISECONDS = 400

export function render({model, view}) {
  const root = document.createElement("div")
  const state = {model, request: null, stopped: false, busy: false}
  const take = () => take_files(state)
  document.addEventListener("obm:files", take)
  if (model.held) { watch(state) } else { setTimeout(take) }
  const warn = (event) => { if (state.busy) { event.preventDefault() } }
  window.addEventListener("beforeunload", warn)
  model.on("remove", () => {
    state.stopped = true
    state.request?.abort()
    document.removeEventListener("obm:files", take)
    window.removeEventListener("beforeunload", warn)
  })
  return root
}

// Files of a drop are sent once, although the page that took them may announce them twice.
async function take_files(state) {
  const files = window.obmDroppedFiles
  if (!files?.length || files.taken || state.model.held || state.stopped || state.busy) { return }
  files.taken = true
  state.busy = true
  const sent = []
  const refused = []
  for (const file of files) {
    try { sent.push(await send(state, file)) }
    catch (error) {
      if (state.stopped) { return }
      refused.push(`${file.name}: ${error.message}`)
    }
  }
  state.busy = false
  if (refused.length) { show_refused(state, refused) } else { place()?.replaceChildren() }
  state.model.sent = sent
  if (sent.length === 1 && !refused.length) { go(`/ui/upload/${sent[0]}`) }
}

function send(state, file) {
  return new Promise((resolve, reject) => {
    const request = state.request = new XMLHttpRequest()
    const bar = show_progress(`Sending ${file.name}`, () => request.abort())
    request.open("POST", `/api/files?hold=true&name=${encodeURIComponent(file.name)}`)
    request.upload.addEventListener("progress", (event) => bar(event.loaded, file.size))
    request.addEventListener("load", () => {
      const answer = parsed(request.responseText)
      if (request.status === 202 && answer?.held) { resolve(answer.held) }
      else { reject(new Error(said(answer, request.status))) }
    })
    request.addEventListener("error", () => reject(new Error("the connection broke off, and nothing of it is kept: send it again")))
    request.addEventListener("abort", () => reject(new Error("stopped, and nothing of it is kept")))
    request.send(file)
  })
}

async function watch(state) {
  let bar = null
  while (!state.stopped) {
    let answer, status = 0
    try {
      const response = await fetch(`/api/held-files/${encodeURIComponent(state.model.held)}`)
      status = response.status
      answer = parsed(await response.text())
    } catch { /* the server is being restarted: look again */ }
    if (state.stopped) { return }
    if (answer?.estimate || status === 404) { state.model.ready += 1; return }
    if (answer?.trouble || (status && status !== 200)) {
      show_refused(state, [answer?.trouble ?? said(answer, status)])
      return
    }
    if (answer?.bytes && place()) {
      if (!bar?.alive()) { bar = show_progress(`Reading ${answer.file}`) }
      bar(answer.read_bytes, answer.bytes)
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MILLISECONDS))
  }
}

// --- what is shown ----------------------------------------------------------------------------

function show_progress(words, stop) {
  const box = element("div", "uploading card")
  const head = element("div", "head")
  const name = element("b", "", words)
  const told = element("span", "muted nowrap", "")
  head.append(name, told)
  if (stop) {
    const button = element("button", "button small", "Stop")
    button.type = "button"
    button.addEventListener("click", stop)
    head.append(button)
  }
  const bar = element("span", "bar")
  const filled = element("i")
  bar.setAttribute("role", "progressbar")
  bar.setAttribute("aria-label", words)
  bar.setAttribute("aria-valuemin", "0")
  bar.setAttribute("aria-valuemax", "100")
  bar.append(filled)
  box.append(head, bar)
  place()?.replaceChildren(box)
  const update = (done, whole) => {
    const share = whole ? Math.min(100, 100 * done / whole) : 0
    filled.style.width = `${share.toFixed(1)}%`
    bar.setAttribute("aria-valuenow", share.toFixed(0))
    told.textContent = `${share.toFixed(0)}% · ${size(done)} of ${size(whole)}`
  }
  update.alive = () => box.isConnected
  update(0, 0)
  return update
}

function show_refused(state, texts) {
  const box = element("div", "notice is-error")
  box.setAttribute("role", "alert")
  const told = element("div", "grow")
  for (const text of texts) { told.append(element("div", "", text)) }
  box.append(told)
  place()?.replaceChildren(box)
}

function place() {
  return within(document)
}

function within(root) {
  const found = root.querySelector("[data-upload]")
  if (found) { return found }
  for (const one of root.querySelectorAll("*")) {
    const inner = one.shadowRoot && within(one.shadowRoot)
    if (inner) { return inner }
  }
  return null
}

function element(tag, kind = "", text = "") {
  const made = document.createElement(tag)
  made.className = kind
  made.textContent = text
  return made
}

function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"]
  let value = bytes, unit = 0
  while (value >= 1000 && unit < 4) { value /= 1000; unit += 1 }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`
}

function go(path) { document.dispatchEvent(new CustomEvent("obm:go", {detail: path})) }

function parsed(text) {
  try { return JSON.parse(text) } catch { return null }
}

function said(answer, status) {
  const fault = answer?.errors?.[0]
  return fault?.detail ?? `the server answered ${status}`
}
