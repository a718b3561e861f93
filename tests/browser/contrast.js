// Every visible text with too little contrast against what is behind it (WCAG 2.2, 1.4.3).
() => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  const behind = (element) => {
    if (!element) return [255, 255, 255, 1];
    const own = rgba(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own : over(own, behind(element.parentElement));
  };
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((value) => {
      const c = value / 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const opacity = (element) =>
    (element ? Number(getComputedStyle(element).opacity) * opacity(element.parentElement) : 1);
  const found = { checked: 0, poor: [] };
  const check = (element, colour, text, size, weight) => {
    const back = behind(element);
    const front = rgba(colour);
    front[3] *= opacity(element);
    const [a, b] = [luminance(over(front, back)), luminance(back)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = size >= 24 || (size >= 18.66 && weight >= 700);
    found.checked += 1;
    if (ratio < (large ? 3 : 4.5)) found.poor.push(`${text.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data;
    const element = walker.currentNode.parentElement;
    if (!text.trim() || !element.checkVisibility({ visibilityProperty: true })) continue;
    if (element.closest("noscript, title, .hidden")) continue;
    const style = getComputedStyle(element);
    const colour = element instanceof SVGElement ? style.fill : style.color;
    check(element, colour, text, parseFloat(style.fontSize), Number(style.fontWeight));
  }
  for (const element of document.querySelectorAll("[placeholder]")) {
    if (!element.checkVisibility()) continue;
    const style = getComputedStyle(element, "::placeholder");
    check(element, style.color, element.placeholder, parseFloat(style.fontSize), 400);
  }
  return found;
}
