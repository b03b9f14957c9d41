# The image of the database, on that of the load generator (BASE), which has the tables and what starts a cluster.
# Built only for applications that require a database.
ARG BASE
FROM ${BASE}
USER root
# A cluster is made at each start, so that the one that Debian would make here is not.
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt,sharing=locked \
    rm -f /etc/apt/apt.conf.d/docker-clean && apt-get update -q \
    && mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf \
    && apt-get install -q --yes --no-install-recommends -o Dpkg::Options::=--force-confold postgresql
COPY gatebench/ /srv/gatebench/
RUN chmod -R a+rX /srv/gatebench && python -m compileall -q --invalidation-mode unchecked-hash /srv/gatebench
USER 10001:10001
