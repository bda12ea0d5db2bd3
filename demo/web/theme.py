"""How the page looks: quiet greys, one accent, the picture largest. No font or file from afar."""

import gradio as gr

_SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def theme() -> gr.themes.Base:
    """Return the theme, for light and dark alike."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.indigo,
        secondary_hue=gr.themes.colors.indigo,
        neutral_hue=gr.themes.colors.zinc,
        radius_size=gr.themes.sizes.radius_md,
        font=_SANS,
        font_mono=_MONO,
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_shadow="none",
        # The defaults are too pale to be read by everyone.
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
        slider_color="*primary_600",
        slider_color_dark="*primary_500",
    )


CSS = """
.gradio-container { width: 100%; max-width: 1560px !important; margin: 0 auto !important; }
@media (max-width: 640px) { .gradio-container > .main { padding: 10px 12px !important; } }
#title { padding: 4px 2px 0; }
#title h1 { font-size: 1.35rem; font-weight: 650; letter-spacing: -0.01em; margin: 0; }
#title p { margin: 2px 0 0; color: var(--body-text-color-subdued); }
#view-row { flex-wrap: wrap; align-items: center; gap: 8px; justify-content: flex-start; }
#view-row fieldset > span { display: none; }
#view-row > * { flex: 0 1 auto !important; width: auto !important; min-width: 0 !important;
  margin: 0 !important; }
/* Two buttons that stay pressed, beside those that choose the view. */
#view-row .form { display: flex; flex: 0 0 auto; gap: 8px; border: 0; background: none;
  box-shadow: none; overflow: visible; }
#view-row .form > *, #view-row > .block { flex: 0 0 auto; width: auto; min-width: 0 !important;
  border: 0; padding: 0; background: none; overflow: visible; }
#view-row .checkbox-container { padding: var(--checkbox-label-padding); white-space: nowrap;
  border-radius: var(--radius-sm); background: var(--checkbox-label-background-fill); }
#keeper:has(.offer[hidden]) { display: none; }
.offstage { display: none !important; }
#status { align-items: center; gap: 8px; }
#downloads { gap: 8px; align-items: stretch; }
#downloads button { flex: 0 1 auto; min-width: 0; padding: 8px 14px; font-size: 0.9rem; }
/* Progress is shown beside the note; the picture stays. */
.thin-progress { position: relative; min-height: 34px; padding: 0; border: 0;
  background: none; }
.thin-progress .wrap { background: none; border: 0; padding: 0; min-height: 34px; }
.thin-progress .progress-level { flex-direction: row; gap: 10px; align-items: center; width: 100%; }
.thin-progress .progress-level-inner { margin: 0; font-size: 0.85rem; white-space: nowrap; }
.thin-progress .progress-bar-wrap { height: 6px; flex: 1; width: auto; border-radius: 3px; }
/* What went wrong is said in words. */
.thin-progress .error { display: none; }
.thin-progress :is(.meta-text, .meta-text-center, .eta-bar, .loader, svg) { display: none; }
#progress { flex: 1 1 260px; }
@media (min-width: 900px) {
  #status { flex-wrap: nowrap; }
  #status > #note, #status > #progress { flex: 1 1 50%; min-width: 0 !important; width: auto; }
}
#stage:not(:has(#progress .progress-level)) #stop { visibility: hidden; }
#note { flex: 0 1 auto; min-height: 1.5em; color: var(--body-text-color-subdued);
  font-size: 0.9rem; }

/* What is seen first: the hero beside the upload, the examples below. */
#hero figure { margin: 0; }
#hero img { width: 100%; height: auto; border-radius: var(--radius-md); display: block; }
#hero figcaption { margin-top: 6px; font-size: 0.9rem; color: var(--body-text-color-subdued); }
#examples .row { display: grid; gap: 6px;
  grid-template-columns: repeat(auto-fill, minmax(70px, 1fr)); }
#examples button { display: flex; flex-direction: column; margin: 0; padding: 4px 2px;
  font-size: 0.7rem; font-weight: 500; line-height: 1.2; color: var(--body-text-color);
  background: var(--block-background-fill);
  border: 1px solid var(--border-color-primary); border-radius: var(--radius-md);
  cursor: pointer; }
#examples button:hover { border-color: var(--primary-500); }
#examples img { width: 64px; height: 64px; margin: 0 auto 4px; border-radius: 4px; }
#swatches { gap: 6px; flex-wrap: wrap; }
#swatches button { flex: 0 1 auto; min-width: 0; padding: 4px 10px; }
#result img { max-height: max(260px, calc(100vh - 400px)) !important; }

/* The robustness experiment's curve, its key and its pictures. */
#strip .grid-wrap { max-height: none !important; }
/* Beside one another where both have room. */
#curve, #figures { min-width: min(340px, 100%) !important; }
#curve figure { margin: 0; max-width: 640px; }
#curve svg { width: 100%; height: auto; display: block; font-size: 14px; }
#curve text { fill: var(--body-text-color-subdued); }
#curve .at-end { text-anchor: end; }
#curve .at-middle { text-anchor: middle; }
#curve .grid { stroke: var(--border-color-primary); }
#curve polyline { fill: none; stroke-width: 2.5; stroke-linejoin: round; }
#curve polyline.ours { stroke: var(--primary-500); }
#curve polyline.paper { stroke: var(--body-text-color-subdued); stroke-dasharray: 6 5; }
#curve circle { stroke: var(--primary-500); stroke-width: 2; fill: var(--block-background-fill); }
#curve circle.done { fill: var(--primary-500); }
#curve figcaption { display: grid; gap: 2px; font-size: 0.85rem; }
#curve figcaption span::before { content: ""; display: inline-block; width: 26px; margin-right: 8px;
  vertical-align: middle; border-top: 3px solid var(--primary-500); }
#curve figcaption span.paper::before { border-top: 3px dashed var(--body-text-color-subdued); }

/* Three blocks: the photo, its result, the controls. Above one another in this order on a phone;
   on a wide screen the result takes the room, photo and controls share the other column. */
#stage { display: grid; grid-template-columns: minmax(0, 1fr); gap: 16px; align-items: start; }
@media (min-width: 900px) {
  #stage:has(#hero) { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); }
  #stage:has(#result-block) { grid-template-columns: minmax(300px, 360px) minmax(0, 1fr); }
  #stage:has(#result-block) #photo-block { grid-area: 1 / 1; }
  #stage:has(#result-block) #controls-block { grid-area: 2 / 1; }
  #stage:has(#result-block) #result-block { grid-area: 1 / 2 / span 2; position: sticky; top: 8px; }
  #stage:has(#result-block) { grid-template-rows: auto 1fr; }
}
#stage > * { min-width: 0; }
#stage:has(#result-block) #photo { height: 190px !important; }
@media (max-width: 899px) {
  #stage:has(#result-block) #examples { display: none; }
  #stage #result-block { order: -1; }
  #stage:not(:has(#progress .progress-level)) :is(#progress, #stop) { display: none; }
}
@media (min-width: 900px) { #result { min-height: 260px; } }

/* Lines that can be read; tables and code may be wider and scroll. */
#about { max-width: 50rem; }
#about table, #about pre { display: block; max-width: 100%; overflow-x: auto; }
#about details { border: 1px solid var(--border-color-primary); border-radius: var(--radius-md);
  padding: 8px 12px; margin: 8px 0; }
#about summary { cursor: pointer; }
#batch-gallery .caption-label { max-width: calc(100% - 12px); }
#batch-note ul { margin: 4px 0 4px 20px; list-style: disc; overflow-wrap: anywhere; }
/* The pictures take the room beside the settings, and come below them on a phone. */
.side-by-side { align-items: flex-start; }
/* A clip without background, over tiles. */
#clip-result video { background: repeating-conic-gradient(#ccc 0 25%, #fff 0 50%) 0 0 / 24px 24px; }
/* Cutting a clip to length would fetch an FFmpeg for the browser from afar. */
#clip [aria-label^="Trim video"], #clip [aria-label^="Reset video"] { display: none; }
button[role=tab][aria-selected=true] { color: var(--primary-600); }
.dark button[role=tab][aria-selected=true] { color: var(--primary-400); }
/* Gradio divides the footer's links even where there is one. */
footer > .divider:last-child { display: none; }

/* Chromium draws no ring on Gradio's custom controls. */
:focus-visible { outline: 2px solid var(--primary-500) !important; outline-offset: 2px; }
@media (prefers-reduced-motion: reduce) { * { animation: none !important; } }
"""
