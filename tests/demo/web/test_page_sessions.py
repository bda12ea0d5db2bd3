from types import SimpleNamespace

import gradio as gr

from demo.web.sessions import Sessions


def test_a_session_has_its_own_values_and_no_description_of_the_page():
    state, text = gr.State([1]), gr.Textbox("a")
    described = []
    config = SimpleNamespace(
        blocks={block._id: block for block in (state, text)},
        config_for_block=lambda *of: described.append(of) or {},
    )
    sessions = Sessions()
    sessions.set_blocks(
        SimpleNamespace(default_config=config, blocks=config.blocks, state_session_capacity=2)
    )
    mine, other = sessions["mine"], sessions["other"]
    assert sessions["mine"] is mine
    mine[state._id].append(2)
    mine._update_config(text._id)
    mine._update_value_in_config(text._id, "b")
    assert (mine[state._id], other[state._id], state.value) == ([1, 2], [1], [1])
    assert described == []
    assert list(mine.components) == []
    assert sessions["third"] is not mine
    assert ("mine" in sessions, "other" in sessions) == (True, False)  # the capacity is Gradio's
