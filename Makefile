# The two commands of the README, and the steps of the loop. `scripts/` holds what they do.
.PHONY: demo test web fmt fuzz sim soak

demo: ## Install what is needed, start the platform and three motors, show what happens
	scripts/demo.sh

test: ## Install what is needed and run every test
	scripts/test.sh

web: ## Build the page into web/dist
	scripts/web.sh

fuzz: ## Run every fuzz target under libFuzzer: SECONDS=60 each, or TARGETS="mqtt query"
	scripts/fuzz.sh $(or $(SECONDS),60) $(TARGETS)

sim: ## Play SEEDS=100000 simulations from SEED=1000 on
	GANTRY_SEED=$(or $(SEED),1000) GANTRY_SEEDS=$(or $(SEEDS),100000) \
	  cargo test --profile demo -p gantry-testkit --test sim -- --ignored --nocapture more_seeds_hold

soak: ## Kill a platform ROUNDS=50 times while its tables are written and sealed, and count what is there
	cargo build --profile demo --bin gantry
	python3 tests/soak/tables.py $(or $(CARGO_TARGET_DIR),target)/demo/gantry $(or $(ROUNDS),50)

fmt:
	cargo fmt --all
