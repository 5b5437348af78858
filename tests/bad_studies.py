"""Studies that are wrong in one place each: what is written instead of what, and what the refusal has to name."""

from dataclasses import dataclass

GOOD = """\
name = "mine"
question = "Why?"
seeds = [0, 1]
[base]
backbone = "embedded"
[base.vision]
tune = { kind = "full" }
[data]
kind = "expert"
tasks = ["reach"]
episodes = 12
[budget]
steps = 6
batch = 16
learning_rate = 1e-3
[protocol]
tasks = ["reach"]
initial_states = 4
[compute]
device = "cpu"
[injections.cloning]
objective = "behaviour-cloning"
data = { kind = "expert", tasks = ["reach"], episodes = 8, split = "injection" }
budget = { steps = 6 }
[[arms]]
name = "all-trained"
[[arms]]
name = "freeze-vision"
edits = [{ edit = "tune", slot = "vision", tune = { kind = "frozen" } }]
[[arms]]
name = "injected"
edits = [{ edit = "replace", slot = "vision", weights = "injection:cloning" }]
[[contrasts]]
name = "freeze cost"
a = "all-trained"
b = "freeze-vision"
"""


@dataclass(frozen=True)
class Bad:
    """`old` in the good study is `new` here; the refusal holds each of `says`."""

    old: str
    new: str
    says: tuple[str, ...]


def bad(old: str, new: str, *says: str) -> Bad:
    return Bad(old, new, says)


MODELS = (
    bad('backbone = "embedded"', 'backbone = "embeded"', "Did you mean 'embedded'"),
    bad("[base.vision]", '[base.head]\nmodule = "chunk-mpl"\nweights = "random"\n[base.vision]', "'chunk-mlp'"),
    bad("[base.vision]", '[base.projector]\nmodule = "lienar"\nweights = "random"\n[base.vision]', "'linear'"),
    bad("[base.vision]", '[base.vision]\nmodule = "dinov2-smal"', "Did you mean 'dinov2-small'"),
)
"""Names of models, which are asked after before anything is run."""

HEAD, FREEZE = 'question = "Why?"', '[{ edit = "tune", slot = "vision", tune = { kind = "frozen" } }]'
REPLACE = '{ edit = "replace", slot = "vision", weights = "injection:cloning" }'
ARM = 'name = "all-trained"'

BAD = (
    # keys that nobody knows, at each level
    bad(HEAD, 'qeustion = "Why?"', "qeustion", "Did you mean 'question'"),
    bad(HEAD, "", "question", "required"),
    bad("backbone =", "bakcbone =", "base.bakcbone", "Did you mean 'backbone'"),
    bad("[base.vision]", "[base.vison]", "base.vison", "Did you mean 'vision'"),
    bad('tune = { kind = "full" }', 'tun = { kind = "full" }', "base.vision.tun", "Did you mean 'tune'"),
    bad('kind = "full" }', 'kind = "full", rank = 4 }', "base.vision.tune.rank", "'rank'"),
    bad("episodes = 12", "episode = 12", "data.episode", "Did you mean 'episodes'"),
    bad("batch = 16", "bacth = 16", "budget.bacth", "Did you mean 'batch'"),
    bad("initial_states", "inital_states", "protocol.inital_states", "Did you mean 'initial_states'"),
    bad("device =", "devcie =", "compute.devcie", "Did you mean 'device'"),
    bad("objective =", "objetcive =", "injections.cloning.objetcive", "Did you mean 'objective'"),
    bad("budget = { steps = 6 }", "budget = { step = 6 }", "injections.cloning.budget.step", "Did you mean 'steps'"),
    bad('[{ edit = "tune", slot', '[{ edit = "tune", slto', "arms.1.edits.0.slto", "Did you mean 'slot'"),
    bad(ARM, f"{ARM}\nseed = [1]", "arms.0.seed", "Did you mean 'seeds'"),
    bad(ARM, f"{ARM}\nbudget = {{ setps = 3 }}", "all-trained", "budget.setps", "Did you mean 'steps'"),
    bad(ARM, f'{ARM}\ninputs = {{ imgae = "blank" }}', "arms.0.inputs.imgae", "Did you mean 'image'"),
    bad('b = "freeze-vision"', 'c = "freeze-vision"', "contrasts.0.c", "No key"),
    # values of another type
    bad("steps = 6\nbatch", 'steps = "many"\nbatch', "budget.steps", "'many'"),
    bad("steps = 6\nbatch", "steps = 6.5\nbatch", "budget.steps", "6.5"),
    bad("steps = 6\nbatch", "steps = true\nbatch", "budget.steps", "True"),
    bad("seeds = [0, 1]", "seeds = 3", "seeds", "3"),
    bad('tasks = ["reach"]\nepisodes', 'tasks = "reach"\nepisodes', "data.tasks", "'reach'"),
    bad(HEAD, "question = 3", "question", "3"),
    bad(
        '[base]\nbackbone = "embedded"\n[base.vision]\ntune = { kind = "full" }',
        'base = "embedded"',
        "base",
        "'embedded'",
    ),
    bad(FREEZE, '"frozen"', "arms.1.edits", "'frozen'"),
    bad("[[contrasts]]", "[contrasts]", "contrasts"),
    bad("[injections.cloning]", "[[injections]]", "injections"),
    bad('device = "cpu"', "device = 1979-05-27", "compute.device", "1979"),
    bad("steps = 6\nbatch", 'steps = "6"\nbatch', "budget.steps", "'6'"),
    bad("seeds = [0, 1]", "seeds = [true]", "seeds.0", "True"),
    bad(ARM, f"{ARM}\nretrained = 1", "arms.0.retrained", "1"),
    bad(ARM, f"{ARM}\nbudget = {{ steps = true }}", "all-trained", "budget.steps", "True"),
    # names that no registry has
    bad('kind = "frozen"', 'kind = "frzoen"', "arms.1.edits.0.tune", "Did you mean 'frozen'"),
    bad('kind = "frozen"', "kind = []", "arms.1.edits.0.tune"),
    bad('edit = "tune"', 'edit = "tuen"', "arms.1.edits.0", "Did you mean 'tune'"),
    bad('slot = "vision", tune', 'slot = "visoin", tune', "arms.1.edits.0.slot", "Did you mean 'vision'"),
    bad('kind = "expert"\ntasks', 'kind = "exprt"\ntasks', "data", "Did you mean 'expert'"),
    bad('tasks = ["reach"]\ninitial', 'tasks = ["raech"]\ninitial', "protocol.tasks", "Did you mean 'reach'"),
    bad("[protocol]", '[protocol]\nbenchmark = "tabeltop-v1"', "protocol.benchmark", "Did you mean 'tabletop-v1'"),
    bad("[protocol]", "[protocol]\nbenchmark = []", "protocol.benchmark", "'[]'"),
    bad("[protocol]", '[protocol]\ncamera = "back"', "protocol.camera", "'back'"),
    bad("[protocol]", '[protocol]\nsplit = "finetun"', "protocol.split", "Did you mean 'finetune'"),
    bad('"behaviour-cloning"', '"behavior-clonng"', "injections.cloning.objective", "behaviour-cloning"),
    bad('"behaviour-cloning"', '"behaviour-cloning + nan*depth"', "injections.cloning.objective", "nan"),
    bad('"cpu"', '"gpu"', "compute.device", "'gpu'"),
    bad('"injection:cloning"', '"injection:clonign"', "injected", "Did you mean 'cloning'"),
    bad('"injection:cloning"', '"../../elsewhere"', "arms.2.edits.0.weights", "'../../elsewhere'"),
    # numbers that cannot be
    bad("steps = 6\nbatch", "steps = -6\nbatch", "budget.steps", "-6"),
    bad("steps = 6\nbatch", "steps = 0\nbatch", "budget.steps", "0"),
    bad("1e-3", "nan", "budget.learning_rate", "nan"),
    bad("1e-3", "inf", "budget.learning_rate", "inf"),
    bad("1e-3", "-1e-3", "budget.learning_rate", "-0.001"),
    bad("seeds = [0, 1]", "seeds = [-1]", "seeds.0", "-1"),
    bad("seeds = [0, 1]", "seeds = [4294967296]", "seeds.0", "4294967296"),
    bad("seeds = [0, 1]", "seeds = [1, 1]", "seeds", "[1, 1]"),
    bad("seeds = [0, 1]", "seeds = []", "seeds"),
    bad("episodes = 12", f"episodes = {10**400}", "data.episodes", "1000000"),
    bad("steps = 6\nbatch", f"steps = {10**30}\nbatch", "budget.steps", str(10**30)),
    bad("initial_states = 4", f"initial_states = {10**12}", "protocol.initial_states", str(10**12)),
    bad(ARM, f"{ARM}\nlearning_rates = [1e-3, nan]", "arms.0.learning_rates.1", "nan"),
    bad(ARM, f"{ARM}\nbudget = {{ learning_rate = inf }}", "all-trained", "budget.learning_rate", "inf"),
    bad('"behaviour-cloning"', '"1e999*behaviour-cloning"', "injections.cloning.objective", "1e999"),
    # what does not go together
    bad('"freeze-vision"\nedits', '"all-trained"\nedits', "arms", "all-trained"),
    bad('name = "freeze-vision"', 'name = "Freeze Vision!"', "arms.1.name", "'Freeze Vision!'"),
    bad('a = "all-trained"', 'a = "al-trained"', "freeze cost", "Did you mean 'all-trained'"),
    bad('b = "freeze-vision"', 'b = "all-trained"', "freeze cost", "'all-trained'"),
    bad(FREEZE, "[]", "'all-trained'", "'freeze-vision'"),
    bad("episodes = 12", 'episodes = 12\nsplit = "evaluation"', "data", "'evaluation'"),
    bad('"reach"], episodes = 8, split = "injection"', '"reach"], split = "finetune"', "injections.cloning.data"),
    bad("[protocol]", "[protocol]\nn_action_steps = 64", "protocol.n_action_steps", "64"),
    bad(ARM, f"{ARM}\nretrained = true", "arms.0", "retrained"),
    bad(ARM, f'{ARM}\ninputs = {{ image = "noise" }}\nretrained = true', "arms.0", "noise"),
    bad(ARM, f'{ARM}\nafter = "nothing"', "all-trained", "nothing"),
    bad(ARM, f'{ARM}\nreference = "expert"\nseeds = [1]', "arms.0", "seeds"),
    bad('"freeze-vision"\nedits', '"freeze-vision"\nlearning_rates = [1e-3]\nedits', "arms.1", "learning_rates"),
    bad('tune = { kind = "full" }', 'tune = { kind = "frozen" }\nrate = 0.1', "base.vision", "rate is 0.1"),
    bad("[base.vision]", '[base.head]\nweights = "pretrained"\n[base.vision]', "base", "head.weights is 'pretrained'"),
    bad("[base.vision]", '[base.language]\nmodule = "first-blocks:-1"\n[base.vision]', "language", "first-blocks:-1"),
    bad("budget = { steps = 6 }", 'after = "cloning"\nbudget = { steps = 6 }', "cloning"),
    # no TOML
    bad("episodes = 12", f"episodes = 1{'0' * 5000}", "is not TOML"),
    bad(HEAD, 'question = "\\uD800"', "is not TOML"),
    bad("[budget]", "[budget]\n[budget]", "is not TOML", "budget"),
    bad("steps = 6\nbatch", "steps = 6\nsteps = 7\nbatch", "is not TOML"),
    bad("[[arms]]", "[arms", "is not TOML"),
    bad(HEAD, "question = ", "is not TOML"),
)
"""Each in one place of `GOOD`."""
