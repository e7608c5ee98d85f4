// Helpers for the page: elements whose text is never markup, and requests to the server of which only the last counts.

/** An element with properties and children; strings become text, never markup. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/**
 * A function that requests JSON from the server `wait` ms after its last call and abandons an older request, which then
 * resolves to null.
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

/** JSON from the server; throws an Error with the server's line about what is wrong. */
export async function json(address, signal) {
  const answer = await fetch(address, { signal });
  if (!answer.ok) throw new Error((await answer.text()).slice(0, 300) || `the server answered ${answer.status}`);
  return answer.json();
}

/** The element of the page with this id. */
export function part(id) {
  return document.getElementById(id);
}

/** Report on the page, and to screen readers, what just happened. */
export function report(text) {
  part("status").textContent = text;
}
