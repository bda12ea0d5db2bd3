# docker build -t matting . && docker run --rm -p 7860:7860 matting
# With a GPU: docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 ...,
# and docker run --gpus all ...
FROM python:3.11-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN useradd --create-home --uid 1000 app
WORKDIR /home/app/matting
COPY requirements.txt requirements.lock ./
RUN pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -r requirements.txt -c requirements.lock
COPY --chown=app app.py LICENSE ./
COPY --chown=app demo demo
COPY --chown=app mgm_core mgm_core
COPY --chown=app benchmark_data_tools benchmark_data_tools
USER app
RUN python -m mgm_core.engines.compile
ENV GRADIO_SERVER_NAME=0.0.0.0 PORT=7860 PYTHONUNBUFFERED=1
EXPOSE 7860
HEALTHCHECK --start-period=60s CMD python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/')"
CMD ["python", "app.py"]
