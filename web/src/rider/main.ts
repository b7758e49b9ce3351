import { beginPage } from '@/shared/page.js'
import { Session } from '@/shared/session.js'
import App from './App.vue'
import { beginWorker } from './device.js'
import { listenForInstall } from './install.js'
import en from './locale/en.js'
import zhCN from './locale/zh-CN.js'

listenForInstall()
const session = new Session({ role: 'rider', keep: 'device', socketOnly: true })
void session.begin()
beginPage(App, { 'zh-CN': zhCN, en }, { session })
void beginWorker()
