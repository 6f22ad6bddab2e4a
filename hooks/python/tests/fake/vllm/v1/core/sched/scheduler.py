class Request:
    def __init__(self, req_id):
        self.req_id = req_id


class Output:
    num_scheduled_tokens = {"a": 100, "b": 1, "c": 1, "d": 1}
    scheduled_new_reqs = [Request("a"), Request("d")]
    total_num_scheduled_tokens = 103


class Scheduler:
    def schedule(self):
        return Output()
