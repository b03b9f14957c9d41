#!/bin/sh
# Pins every requirement anew, with hashes for every platform and without index addresses.
set -eu
uv=$PWD/.venv/bin/uv
pin() { "$uv" pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header "$@"; }

pin requirements/bootstrap.in --output-file requirements/bootstrap.txt
pin pyproject.toml --constraint requirements/bootstrap.txt --output-file requirements/lab.txt
pin pyproject.toml --extra dev --constraint requirements/lab.txt --output-file requirements/dev.txt
pin pyproject.toml --extra notebook --constraint requirements/dev.txt --output-file requirements/notebook.txt
pin requirements/loadgen.in --constraint requirements/lab.txt --output-file requirements/loadgen.txt
pin requirements/build.in --output-file requirements/build.txt
for folder in servers/*/; do
	(cd "$folder" && pin requirements.in --output-file requirements.txt)
	# What a variant has beside that: the same versions, so that nothing but it differs.
	for file in "$folder"requirements-*.in; do
		test ! -e "$file" || (cd "$folder" && name=$(basename "$file" .in) &&
			pin "$name.in" --constraint requirements.txt --output-file "$name.txt")
	done
done
# An application is installed together with each server, whose versions it therefore takes.
constraints=$(for file in "$PWD"/servers/*/requirements.txt; do printf -- '--constraint %s ' "../../${file#"$PWD"/}"; done)
for file in apps/*/requirements.in; do
	# shellcheck disable=SC2086 # several words on purpose
	(cd "${file%/*}" && pin requirements.in $constraints --output-file requirements.txt)
done
