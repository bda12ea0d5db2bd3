"""The page: its tabs, and the endpoints for programs."""

import gradio as gr

from demo.about import about
from demo.api import Api, add_endpoints
from demo.backend.studio import Studio
from demo.backend.visits import Visits
from demo.environment import Environment
from demo.handlers import Handlers
from demo.play.handlers import PlayHandlers
from demo.play.tab import play_tab
from demo.tabs.annotation import annotation_tab
from demo.tabs.batch import batch_tab
from demo.tabs.cut_out import cut_out_tab
from demo.tabs.robustness import robustness_tab
from demo.tabs.settings import CATEGORIES
from demo.tabs.video import video_tab
from mgm_core import __version__

__all__ = ["build"]


def build(studio: Studio, environment: Environment, visits: Visits) -> gr.Blocks:
    """Lay out the page and wire it."""
    handlers = Handlers(studio, environment.quality, environment.weights)
    playing = PlayHandlers(studio)
    # `delete_cache` stays off: Gradio would delete what a visit waits for. `app.py` deletes files.
    page = gr.Blocks(title="Mask-guided matting", analytics_enabled=False, fill_width=True)
    with page:
        gr.HTML(
            "<h1>Mask-guided matting</h1>"
            "<p>A rough mask says who. The network finds every hair.</p>",
            elem_id="title",
        )
        with gr.Tab("Cut out"):
            controls, arrived = cut_out_tab(handlers, playing, environment, visits)
        with gr.Tab("Robustness"):
            robustness_tab(handlers, controls, arrived, visits)
        with gr.Tab("Play"):
            play_tab(playing, controls, arrived, visits)
        with gr.Tab("Several photos"):
            batch_tab(studio, environment, CATEGORIES, visits)
        with gr.Tab("Video"):
            video_tab(studio.models, environment, CATEGORIES, visits)
        if environment.annotate:
            with gr.Tab("Annotate"):
                annotation_tab()
        with gr.Tab("About"):
            gr.Markdown(about(environment.keep_minutes), elem_id="about")
        gr.HTML(f"<p>mgm {__version__}</p>", elem_id="version", padding=False)
        add_endpoints(Api(studio, environment.max_megapixels), visits)
    return page
