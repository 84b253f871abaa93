# Precedent as an image: built by the same script as any other installation (deploy/install.sh).
#
#   docker build --tag precedent-cds .
#   docker run --publish 8000:8000 --volume precedent-state:/var/lib/precedent precedent-cds
#
# The headless service for machines alone: append  cds.web.wsgi:app  to the last line.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY pyproject.toml requirements.lock README.md LICENSE NOTICE ./
COPY deploy ./deploy
COPY cds ./cds
COPY models ./models
COPY smart_app ./smart_app
COPY sandbox ./sandbox
COPY fhir_profiles ./fhir_profiles
RUN sh deploy/install.sh --prefix /opt/precedent --runtime

FROM ${PYTHON_IMAGE} AS run
RUN groupadd --system --gid 10001 precedent \
    && useradd --system --uid 10001 --gid precedent --home-dir /var/lib/precedent --create-home precedent \
    && chmod 0700 /var/lib/precedent
COPY --from=build /opt/precedent /opt/precedent
COPY deploy/gunicorn.conf.py deploy/start.sh /opt/precedent/deploy/
ENV PATH=/opt/precedent/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PRECEDENT_STATE_DIR=/var/lib/precedent
USER 10001:10001
WORKDIR /var/lib/precedent
VOLUME /var/lib/precedent
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
ENTRYPOINT ["sh", "/opt/precedent/deploy/start.sh"]
CMD ["smart_app.wsgi:app"]
