# Two commands on a machine with nothing but Python >= 3.11, venv and make:
#   make demo   install, run the demo, show the table and the report
#   make test   install what tests need, run the whole suite
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/hypnos-bench run staging --cohort demo --shots 1%
	@echo; echo "The report, with figures beside it:"; echo; sed -n '1,16p' reports/staging-demo.md; ls reports/staging-demo*

test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n auto --durations 15

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
