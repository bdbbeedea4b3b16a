// Small helpers over the page; strings always become text, never markup.

export const $ = (id) => document.getElementById(id);

export function setText(element, value) {
	if (element.textContent !== value) element.textContent = value;
}

export function show(element, visible) {
	if (element.hidden === visible) element.hidden = !visible;
}

export function setAttr(element, name, value) {
	if (value === null || value === undefined) element.removeAttribute(name);
	else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

/** make("button", {class: "x", "data-testid": "y", onclick: fn}, "text", child) */
export function make(tag, attributes = {}, ...children) {
	const element = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes)) {
		if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
		else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : String(value));
	}
	element.append(...children);
	return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function makeSvg(tag, attributes = {}, ...children) {
	const element = document.createElementNS(SVG, tag);
	for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
	element.append(...children);
	return element;
}

/** Sets a level meter (role=meter) to 0..1, with words for a screen reader. */
export function setLevel(element, level, words) {
	const percent = Math.round(Math.max(0, Math.min(1, level)) * 100);
	setAttr(element, "aria-valuenow", percent);
	setAttr(element, "aria-valuetext", words);
	element.style.setProperty("--level", String(percent / 100));
}

/** The last `limit` lines of what happened, newest on top. */
export class EventTail {
	constructor(list, limit = 100) {
		this.list = list;
		this.limit = limit;
	}

	add(line, source = "channel") {
		const time = new Date().toLocaleTimeString([], { hour12: false });
		this.list.prepend(make("li", { "data-source": source }, make("time", {}, time), " ", make("span", {}, line)));
		while (this.list.children.length > this.limit) this.list.lastElementChild.remove();
	}
}
