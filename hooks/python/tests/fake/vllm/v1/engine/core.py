from vllm.v1.core.sched.scheduler import Scheduler


class EngineCore:
    def __init__(self):
        self.scheduler = Scheduler()

    def step(self):
        return self.scheduler.schedule(), True
