// What is wrong with the page as it stands: a function for the browser, giving lists that are empty when all is well.
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  // Relative luminance, WCAG 2.2.
  const light = (color) => {
    const [r, g, b] = color.slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const style = getComputedStyle(e);
      if (style.backgroundImage !== "none") return null;
      const color = rgba(style.backgroundColor);
      if (color[3] > 250) return color;
    }
    return [255, 255, 255, 255];
  };
  const all = [...document.querySelectorAll("body *")].filter((e) => e.checkVisibility({ visibilityProperty: true }));
  const short = (e) => e.outerHTML.slice(0, 100);

  // Every text against what lies behind it (1.4.3), but for what is disabled, and the tags on the picture.
  const contrast = [];
  for (const e of all) {
    const own = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim());
    const back = own && !e.closest(".stage, :disabled, .skip") ? ground(e) : null;
    if (!back) continue;
    const [a, b] = [light(rgba(getComputedStyle(e).color)), light(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) contrast.push(`${ratio.toFixed(2)} ${short(e)}`);
  }

  // Everything one can use or must hear about has a name (4.1.2).
  const named = "button, input, video, canvas, aside, dialog, [role=meter], [role=img], main > section, main > section > section";
  const unnamed = all
    .filter((e) => e.matches(named))
    .filter((e) => !(e.ariaLabel || e.getAttribute("aria-labelledby") || e.closest("label")?.textContent.trim() || e.textContent.trim()))
    .map(short);

  // Nothing sticks out sideways (1.4.10).
  const page = document.documentElement;
  const wide = page.scrollWidth > page.clientWidth ? all.filter((e) => e.getBoundingClientRect().right > page.clientWidth + 1).map(short) : [];

  const ids = all.map((e) => e.id).filter(Boolean);
  const twice = ids.filter((id, i) => ids.indexOf(id) !== i);
  return { contrast, unnamed, wide, twice };
}
