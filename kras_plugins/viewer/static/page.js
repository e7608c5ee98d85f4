// Small pieces of the page: elements whose text is always text, and answers of the server of which the last one counts.

/** An element with properties and children; strings become text, never markup. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/**
 * A function that asks the server for JSON `wait` ms after its last call and gives up an older question. It resolves to
 * null where a newer one was asked meanwhile.
 */
export function latest(wait) {
  let asked = new AbortController();
  return async (address) => {
    asked.abort();
    const { signal } = (asked = new AbortController());
    await new Promise((resolve) => setTimeout(resolve, wait));
    if (signal.aborted) return null;
    try {
      return await json(address, signal);
    } catch (error) {
      if (signal.aborted) return null;
      throw error;
    }
  };
}

/** JSON from the server; raises an Error with the line in which the server says what is wrong. */
export async function json(address, signal) {
  const answer = await fetch(address, { signal });
  if (!answer.ok) throw new Error((await answer.text()).slice(0, 300) || `the server answers ${answer.status}`);
  return answer.json();
}

/** The element of the page with this id. */
export function part(id) {
  return document.getElementById(id);
}

/** Say on the page, and to screen readers, what just happened. */
export function report(text) {
  part("status").textContent = text;
}
