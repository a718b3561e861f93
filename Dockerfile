# Two stages: build a wheel and its environment, then copy only that environment.
FROM python:3.11-slim AS build
# What the image can do besides serving: `train` is fit, collect and Parquet, `otel` is traces.
# --build-arg EXTRAS= makes one that only serves, less than half as large.
ARG EXTRAS=[train,otel]
WORKDIR /src
COPY requirements.txt pyproject.toml README.md LICENSE NOTICE ./
COPY app app
COPY routers routers
RUN python -m venv /opt/steelyard \
 && /opt/steelyard/bin/pip install --no-cache-dir --constraint requirements.txt ".$EXTRAS"

FROM python:3.11-slim
# A volume that is mounted on the folder belongs to whom the folder does.
RUN useradd --system --uid 10001 --no-create-home steelyard \
 && install --directory --owner steelyard --mode 700 /var/lib/steelyard
COPY --from=build /opt/steelyard /opt/steelyard
COPY configs /etc/steelyard
ENV PATH=/opt/steelyard/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    STEELYARD_CONFIG=/etc/steelyard/gateway.docker.yaml
USER steelyard
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=2)"]
CMD ["steelyard", "serve", "--host", "0.0.0.0"]
