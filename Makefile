# The two commands of the README, and the steps of the loop. `scripts/` holds what they do.
.PHONY: demo test web fmt

demo: ## Install what is needed, start the platform and three motors, show what happens
	scripts/demo.sh

test: ## Install what is needed and run every test
	scripts/test.sh

web: ## Build the page into web/dist
	scripts/web.sh

fmt:
	cargo fmt --all
