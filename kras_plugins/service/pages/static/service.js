// What pages do with a script: refresh while cases wait, print, send slides in pieces.

const live = document.querySelector("#live[data-live]");
if (live) watch(live);

/** Update the part of the page that changed; when its case has ended and it is no longer watched, reload the page. */
function watch(part) {
  setTimeout(async () => {
    let next = part;
    if (!document.hidden && !part.contains(document.activeElement)) {
      try {
        const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const found = answer.ok && !answer.redirected ? page.querySelector("#live") : part;
        if (found && found !== part && found.innerHTML !== part.innerHTML) {
          next = document.importNode(found, true);
          part.replaceWith(next);
        }
        if (!found || (found !== part && !found.dataset.live)) return location.reload();
      } catch {
        // The service is unavailable for a moment: try again.
      }
    }
    watch(next);
  }, 1000 * Number(part.dataset.live));
}

const print = document.querySelector("#print");
if (print) {
  print.hidden = false;
  print.addEventListener("click", () => window.print());
}

const form = document.querySelector("#submit");
if (form) {
  document.querySelector("#upload").hidden = false;
  form.addEventListener("submit", async (event) => {
    const files = [...form.querySelector("input[type=file]").files];
    if (!files.length) return;
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      const typed = form.elements.slides.value.split("\n").filter((line) => line.trim());
      const sent = [];
      for (const file of files) sent.push(`upload:${await send(file)}`);
      form.elements.slides.value = [...typed, ...sent].join("\n");
      form.submit();
    } catch (error) {
      say(`Not sent: ${error.message}`);
      button.disabled = false;
    }
  });
}

function say(text) {
  document.querySelector("#sending").textContent = text;
}

/** Send a file in pieces, continuing where a break left off; returns the id of the upload. */
async function send(file) {
  const name = btoa(String.fromCharCode(...new TextEncoder().encode(file.name)));
  const begun = await ask("/api/v1/uploads", "POST", { "Upload-Length": file.size, "Upload-Metadata": `filename ${name}` });
  const address = begun.headers.get("Location");
  let offset = 0;
  for (let failures = 0; offset < file.size; ) {
    say(`Sending ${file.name}: ${Math.floor((100 * offset) / file.size)} %`);
    try {
      const headers = { "Upload-Offset": offset, "Content-Type": "application/offset+octet-stream" };
      const end = offset + Number(form.dataset.piece);
      const answer = await ask(address, "PATCH", headers, file.slice(offset, end));
      offset = Number(answer.headers.get("Upload-Offset"));
      failures = 0;
    } catch (error) {
      if (error.final || (failures += 1) > 5) throw error;
      await new Promise((done) => setTimeout(done, 1000 * failures));
      offset = Number((await ask(address, "HEAD", {})).headers.get("Upload-Offset"));
    }
  }
  return address.slice(address.lastIndexOf("/") + 1);
}

async function ask(address, method, headers, body) {
  const all = { "Tus-Resumable": "1.0.0", "X-CSRF-Token": form.dataset.csrf, ...headers };
  const answer = await fetch(address, { method, headers: all, body });
  if (answer.ok) return answer;
  const text = (answer.headers.get("Content-Type") ?? "").includes("json") ? (await answer.json()).detail : answer.statusText;
  throw Object.assign(new Error(text), { final: answer.status < 500 && answer.status !== 409 });
}
